"""Adapters of ours in peft, and of peft here: `make test-peers`."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gemma3n
from gemma3n.adapter_config import AdapterConfig
from gemma3n.adapter_files import save_adapter
from gemma3n.checkpoint import Checkpoint
from gemma3n.lora import new_adapter
from gemma3n.matformer import FULL_SIZE
from gemma3n.trainable import Trainable
from pipelines.export.hf import write_hf

transformers: Any = pytest.importorskip("transformers")
peft: Any = pytest.importorskip("peft")
pytest.importorskip("timm")

CLOSE = 5e-4  # as for the golden arrays
DECODER = r".*language_model\.layers\.\d+\.(self_attn\.(q|o)_proj|mlp\.(gate|down)_proj)"


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    (tmp_path / "nano").mkdir()
    write_hf(Checkpoint("nano"), FULL_SIZE, tmp_path / "nano")
    return tmp_path / "nano"


def _theirs(folder: Path) -> nn.Module:
    loaded: nn.Module = transformers.Gemma3nForConditionalGeneration.from_pretrained(
        folder, dtype=torch.float32
    )
    return loaded


def _ours(folder: Path, adapter: Path | None, ids: Tensor) -> Tensor:
    return gemma3n.load(folder, precision="float32", device="cpu", adapter=adapter).logits(ids)


def test_peft_gives_the_logits_of_an_adapter_of_ours(
    exported: Path, tmp_path: Path, text_ids: Tensor
) -> None:
    checkpoint, config = Checkpoint(exported), AdapterConfig(4, 8.0)
    adapter = new_adapter(
        Trainable(checkpoint.config).text, config, ["q_proj", "v_proj", "up_proj"]
    )
    for _, low in adapter.named():
        nn.init.normal_(low.up, std=0.3)
    save_adapter(tmp_path / "adapter", adapter, config, checkpoint)
    adapted = peft.PeftModel.from_pretrained(_theirs(exported), tmp_path / "adapter")
    with torch.inference_mode():
        found = adapted(input_ids=text_ids).logits
    ours = _ours(exported, tmp_path / "adapter", text_ids)
    torch.testing.assert_close(found, ours, atol=CLOSE, rtol=0)
    assert (ours - _ours(exported, None, text_ids)).abs().max() > 100 * CLOSE


@pytest.mark.parametrize("rank_stabilised", [False, True])
def test_an_adapter_of_peft_gives_its_logits_here(
    exported: Path, tmp_path: Path, text_ids: Tensor, rank_stabilised: bool
) -> None:
    config = peft.LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules=DECODER,
        init_lora_weights=False,  # drawn, so that it adds something
        use_rslora=rank_stabilised,
    )
    adapted = peft.get_peft_model(_theirs(exported), config)
    adapted.save_pretrained(tmp_path / "adapter")
    with torch.inference_mode():
        theirs = adapted(input_ids=text_ids).logits
    ours = _ours(exported, tmp_path / "adapter", text_ids)
    torch.testing.assert_close(theirs, ours, atol=CLOSE, rtol=0)
    assert (ours - _ours(exported, None, text_ids)).abs().max() > 100 * CLOSE
