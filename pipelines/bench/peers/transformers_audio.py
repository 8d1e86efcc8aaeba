"""transformers' audio tower with a checkpoint's weights as a contender: `python -m ... JSON`."""

from collections.abc import Mapping
from typing import Any

import torch
from transformers import Gemma3nAudioConfig
from transformers.models.gemma3n.modeling_gemma3n import Gemma3nAudioEncoder

from pipelines.bench.contender import Array, tower
from pipelines.bench.peers.weights import part_of


class Audio:
    """[frames, 128] of mel -> [tokens, width]."""

    def __init__(self, wanted: Mapping[str, Any]) -> None:
        torch.set_num_threads(wanted["threads"])
        torch.set_grad_enabled(False)
        self.dtype = getattr(torch, wanted["precision"])
        weights = part_of(wanted["checkpoint"], "model.audio_tower.", self.dtype)
        self.model = Gemma3nAudioEncoder(Gemma3nAudioConfig()).to(self.dtype).eval()
        self.model.load_state_dict(weights)

    def encode(self, value: Array) -> Array:
        mel = torch.from_numpy(value)[None].to(self.dtype)
        padded = torch.zeros(mel.shape[:2], dtype=torch.bool)
        given = self.model(mel, padded)
        found = given[0] if isinstance(given, tuple) else given.last_hidden_state
        array: Array = found[0].float().numpy()
        return array


if __name__ == "__main__":
    tower(Audio)
