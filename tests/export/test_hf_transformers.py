"""What `to=hf` writes, loaded and run by transformers: `make test-peers`."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import gemma3n
from gemma3n.checkpoint import Checkpoint
from gemma3n.matformer import resolve_size
from pipelines.export.hf import write_hf

transformers: Any = pytest.importorskip("transformers")
pytest.importorskip("timm")

TEXT, MEDIA = 5e-4, 2e-3  # as for the golden arrays


@pytest.mark.parametrize("size", ["full", "small", "mix2"])
def test_transformers_gives_the_logits_of_every_nested_size(
    tmp_path: Path,
    nano: gemma3n.Gemma3n,
    mel: Tensor,
    pixels: Tensor,
    text_ids: Tensor,
    media_ids: Tensor,
    size: str,
) -> None:
    write_hf(Checkpoint("nano"), resolve_size(size, nano.config), tmp_path)
    theirs, report = transformers.Gemma3nForConditionalGeneration.from_pretrained(
        tmp_path, dtype=torch.float32, output_loading_info=True
    )
    assert not any(report.values()), report
    audio, images = nano.encode_audio([mel]), nano.encode_images(pixels)
    with torch.inference_mode():
        text = theirs(input_ids=text_ids).logits
        media = theirs(
            input_ids=media_ids,
            pixel_values=pixels,
            input_features=mel[None],
            input_features_mask=torch.ones(1, len(mel), dtype=torch.bool),
        ).logits
    ours = nano.logits(text_ids, nested=size)
    torch.testing.assert_close(text, ours, atol=TEXT, rtol=0)
    with_media = nano.logits(media_ids, images=images, audio=audio, nested=size)
    torch.testing.assert_close(media, with_media, atol=MEDIA, rtol=0)
    assert theirs.generation_config.eos_token_id == nano.stop_ids
