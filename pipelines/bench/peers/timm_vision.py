"""timm's MobileNet-V5 with a checkpoint's weights as a contender: `python -m ... JSON`."""

from collections.abc import Mapping
from typing import Any

import torch

from pipelines.bench.contender import Array, tower
from pipelines.bench.peers.torchvision import stand_in
from pipelines.bench.peers.weights import part_of

stand_in()  # before timm looks for torchvision
import timm  # noqa: E402


class Vision:
    """[3, size, size] of pixels -> [channels, 16, 16], channels last inside: the faster way."""

    def __init__(self, wanted: Mapping[str, Any]) -> None:
        torch.set_num_threads(wanted["threads"])
        torch.set_grad_enabled(False)
        self.dtype = getattr(torch, wanted["precision"])
        model = timm.create_model("mobilenetv5_300m_enc", pretrained=False).eval().to(self.dtype)
        prefix = "model.vision_tower.timm_model."
        model.load_state_dict(part_of(wanted["checkpoint"], prefix, self.dtype))
        self.model = model.to(memory_format=torch.channels_last)

    def encode(self, value: Array) -> Array:
        pixels = torch.from_numpy(value)[None].to(self.dtype)
        found = self.model(pixels.to(memory_format=torch.channels_last))
        array: Array = found[0].float().numpy()
        return array


if __name__ == "__main__":
    tower(Vision)
