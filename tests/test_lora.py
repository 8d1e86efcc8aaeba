import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import gemma3n
from gemma3n import Gemma3n, NestedSize, SettingsError, merge_checkpoint
from gemma3n.adapter_config import AdapterConfig, read_config
from gemma3n.adapter_files import read_adapter, save_adapter
from gemma3n.checkpoint import Checkpoint
from gemma3n.lora import new_adapter
from gemma3n.trainable import Trainable

IDS = torch.tensor([[2, 9, 8, 77, 31]])
CONFIG = AdapterConfig(4, 8.0)
TARGETS = ["q_proj", "k_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
TARGETS += ["per_layer_model_projection", "per_layer_input_gate"]


@pytest.fixture
def exact_folder(checkpoint_folder: Path, tmp_path: Path) -> Path:
    """The checkpoint in float32, so that merging rounds nothing."""
    trainable = Trainable(Checkpoint(checkpoint_folder).config)
    trainable.load(Checkpoint(checkpoint_folder))
    trainable.save(tmp_path / "exact", checkpoint_folder, torch.float32)
    return tmp_path / "exact"


@pytest.fixture
def adapter_folder(checkpoint_folder: Path, tmp_path: Path) -> Path:
    """An adapter that adds something everywhere."""
    checkpoint = Checkpoint(checkpoint_folder)
    adapter = new_adapter(Trainable(checkpoint.config).text, CONFIG, TARGETS)
    generator = torch.Generator().manual_seed(1)
    for _, low in adapter.named():
        low.up.data.normal_(0, 0.1, generator=generator)
    save_adapter(tmp_path / "adapter", adapter, CONFIG, checkpoint)
    return tmp_path / "adapter"


def test_a_new_adapter_adds_nothing(checkpoint_folder: Path, model: Gemma3n) -> None:
    own = gemma3n.load(checkpoint_folder, precision="float32")
    new_adapter(own.text, CONFIG, TARGETS).attach(own.text)
    torch.testing.assert_close(own.logits(IDS), model.logits(IDS))


@pytest.mark.parametrize(("loaded", "size"), [(None, None), (None, "mix"), ("mix", None)])
def test_an_adapter_beside_the_weights_is_one_merged_into_them_at_every_size(
    exact_folder: Path,
    adapter_folder: Path,
    slices: dict[str, NestedSize],
    tmp_path: Path,
    loaded: str | None,
    size: str | None,
) -> None:
    nested = slices[loaded] if loaded else "full"
    folder = merge_checkpoint(exact_folder, adapter_folder, tmp_path / "merged")
    merged = gemma3n.load(folder, nested, precision="float32")
    beside = gemma3n.load(exact_folder, nested, precision="float32", adapter=adapter_folder)
    asked = slices[size] if size else None
    found, expected = (one.logits(IDS, nested=asked) for one in (beside, merged))
    torch.testing.assert_close(found, expected, atol=2e-4, rtol=0)
    plain = gemma3n.load(exact_folder, nested, precision="float32").logits(IDS, nested=asked)
    assert not torch.allclose(found, plain, atol=0.1)


@pytest.mark.parametrize("precision", ["bfloat16", "int8", "int4"])
def test_every_precision_computes_it_beside_its_own_weights(
    checkpoint_folder: Path, adapter_folder: Path, precision: str
) -> None:
    def logits(**settings: Any) -> Tensor:
        return gemma3n.load(checkpoint_folder, **settings).logits(IDS).float()

    exact = logits(precision="float32", adapter=adapter_folder) - logits(precision="float32")
    found = logits(precision=precision, adapter=adapter_folder) - logits(precision=precision)
    cosine = torch.nn.functional.cosine_similarity(found.flatten(), exact.flatten(), 0)
    assert cosine > 0.9


def test_what_is_written_is_read_again_under_peft_s_names(
    checkpoint_folder: Path, adapter_folder: Path
) -> None:
    tensors = load_file(adapter_folder / "adapter_model.safetensors")
    layer = "base_model.model.model.language_model.layers.0"
    assert tensors[f"{layer}.self_attn.q_proj.lora_A.weight"].shape[0] == 4
    assert tensors[f"{layer}.mlp.down_proj.lora_B.weight"].shape[1] == 4
    config = json.loads((adapter_folder / "adapter_config.json").read_text())
    assert "model.language_model.layers.0.self_attn.q_proj" in config["target_modules"]
    assert read_config(adapter_folder) == CONFIG
    again = read_adapter(adapter_folder, Checkpoint(checkpoint_folder))
    for name, low in again.named():
        written = f"base_model.model.model.language_model.{name}.lora_B.weight"
        assert torch.equal(low.up, tensors[written])


def test_rank_stabilised_adapters_have_a_scale_of_their_own(adapter_folder: Path) -> None:
    path = adapter_folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"use_rslora": True}))
    assert read_config(adapter_folder).scale == 8.0 / 2


def _edit(**changes: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / "adapter_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return edit


def _rename(old: str, new: str) -> Callable[[Path], None]:
    def rename(folder: Path) -> None:
        path = folder / "adapter_model.safetensors"
        save_file({k.replace(old, new): v for k, v in load_file(path).items()}, path)

    return rename


def _shapes(folder: Path) -> None:
    path = folder / "adapter_model.safetensors"
    save_file({k: v[:, :-1].contiguous() for k, v in load_file(path).items()}, path)


def _without_b(folder: Path) -> None:
    path = folder / "adapter_model.safetensors"
    save_file({k: v for k, v in load_file(path).items() if "lora_A" in k}, path)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (_edit(use_dora=True), "has use_dora=true; accepted is false. Merge the adapter"),
        (_edit(peft_type="IA3"), 'has peft_type="IA3"; accepted is "LORA"'),
        (_edit(modules_to_save=["lm_head"]), 'modules_to_save=["lm_head"]; accepted is null'),
        (_edit(r="four"), "r='four' and lora_alpha=8.0; they are a whole number"),
        (_edit(r=5), "', but adapter_config.json beside it says r=5. Both must be"),
        (
            _rename("language_model.layers.0", "audio_tower.conformer.0"),
            "is no map of the text decoder",
        ),
        (_rename("layers.0", "layers.99"), "is not there. It was made for another model"),
        (_shapes, "It was made for another model"),
        (_without_b, "has half of what it adds to 'text."),
        (lambda folder: (folder / "adapter_config.json").unlink(), "has no adapter_config.json"),
        (
            lambda folder: (folder / "adapter_model.safetensors").write_bytes(b"x" * 99),
            "is not a whole safetensors file",
        ),
    ],
)
def test_what_cannot_be_added_is_refused(
    checkpoint_folder: Path, adapter_folder: Path, spoil: Callable[[Path], None], why: str
) -> None:
    spoil(adapter_folder)
    with pytest.raises(SettingsError) as refused:
        gemma3n.load(checkpoint_folder, precision="float32", adapter=adapter_folder)
    assert why in str(refused.value)


def test_a_target_that_is_no_map_is_refused(model: Gemma3n) -> None:
    with pytest.raises(SettingsError, match=r"lora.targets=qkv; accepted are down_proj, gate_pro"):
        new_adapter(model.text, CONFIG, ["q_proj", "qkv"])


def test_a_merge_keeps_what_it_does_not_add_to_and_leaves_nothing_after_a_mistake(
    checkpoint_folder: Path, adapter_folder: Path, tmp_path: Path
) -> None:
    folder = merge_checkpoint(checkpoint_folder, adapter_folder, tmp_path / "merged")
    before, after = Checkpoint(checkpoint_folder), Checkpoint(folder)
    words = [target for target in TARGETS if target != "k_proj"]  # some k_proj are unused
    for name in before.entries:
        same = torch.equal(before.tensor(name), after.tensor(name))
        added = any(f"{word}.weight" in name for word in words) and name.startswith("text.")
        assert same != added or "k_proj" in name, name
    _shapes(adapter_folder)
    with pytest.raises(SettingsError, match="another model"):
        merge_checkpoint(checkpoint_folder, adapter_folder, tmp_path / "again")
    assert not (tmp_path / "again").exists()
