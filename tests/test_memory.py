from pathlib import Path

import pytest
import torch

import gemma3n
from gemma3n import NestedSize, SettingsError
from gemma3n.activations import Media
from gemma3n.checkpoint import Checkpoint
from gemma3n.config import TextConfig
from gemma3n.memory import kv_cache_bytes, largest_within, plan_memory
from gemma3n.placement import Ple
from gemma3n.rounded_towers import RoundedMap


@pytest.mark.parametrize("name", ["e2b", "mix", "irregular"])
def test_a_plan_counts_the_weights_that_a_load_holds(
    checkpoint_folder: Path, slices: dict[str, NestedSize], name: str
) -> None:
    size = slices[name]
    plan = plan_memory(checkpoint_folder, size, precision="float32", ple="resident", batch=0)
    model = gemma3n.load(checkpoint_folder, size, precision="float32", ple="resident")
    model.embed(torch.tensor([[2]]))
    _ = model.audio, model.vision
    modules = [model.text, *model.towers.loaded.values()]
    held = sum(p.numel() for module in modules for p in module.parameters())
    # The rows of dropped layers in this one projection stay mapped with the others.
    text = model.config.text
    dropped = text.num_hidden_layers - len(size.layers(text))
    held -= dropped * text.hidden_size_per_layer_input * text.hidden_size
    table = model.text.table.weight  # type: ignore[attr-defined]
    assert plan.tier("device") == 4 * held
    assert plan.tier("host") == table.numel() * table.element_size()
    assert plan.parameters == held + table.numel()


@pytest.mark.parametrize("name", ["full", "small"])
@pytest.mark.parametrize(
    ("precision", "pack"),
    [("bfloat16", True), ("int8", False), ("int8", True), ("int4", True)],
)
def test_a_plan_counts_packed_and_rounded_copies(name: str, precision: str, pack: bool) -> None:
    plan = plan_memory("nano", name, ["text"], precision, pack=pack)
    model = gemma3n.load("nano", name, parts=["text"], precision=precision, pack=pack, device="cpu")
    head = model.text.embed_tokens
    routes = [r for m in model.text.modules() if (r := getattr(m, "route", None)) is not None]
    others = [p for p in model.text.parameters() if p is not head.weight]
    held = sum(r.bytes for r in routes) + sum(p.numel() * p.element_size() for p in others)
    planned = {item.what: item for item in plan.items}
    layers, table = planned["text layers"], planned["text embedding, by rows"]
    # Rows of dropped layers stay in this one projection, and are whole blocks of it.
    text = model.config.text
    dropped = text.num_hidden_layers - len(model.size.layers(text))
    row = {"bfloat16": 2.0, "int8": 1.0, "int4": 1.625}[precision] * text.hidden_size
    row += 4 * (precision != "bfloat16")
    held -= int(dropped * text.hidden_size_per_layer_input * row)
    assert layers.bytes + planned["output head, the same weights"].bytes == held
    assert table.bytes == head.weight.numel() * head.weight.element_size()
    assert table.tier == "disk"


@pytest.mark.parametrize("tower", ["vision", "audio"])
def test_a_plan_counts_int8_towers_as_they_are_held(
    tower: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gemma3n.rounded.TOWER_LEAST", 64)
    rounded, plain = (
        plan_memory("nano", parts=[tower], precision="float32", towers=towers)
        for towers in ("int8", "auto")
    )
    model = gemma3n.load("nano", parts=[tower], precision="float32", device="cpu", towers="int8")
    module = getattr(model, tower)
    held = sum(p.numel() * p.element_size() for p in module.parameters())
    maps = [one.route for one in module.modules() if isinstance(one, RoundedMap)]
    held += sum(r.weight.nbytes + r.scale.nbytes for r in maps)
    bytes_of = {item.what: item.bytes for item in rounded.items}
    assert bytes_of[f"{tower} tower"] == held == model.took[tower].bytes
    assert rounded.tier("device") < plain.tier("device")
    assert rounded.parameters == plain.parameters


def test_int8_towers_leave_nothing_of_their_files_mapped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gemma3n.rounded.TOWER_LEAST", 64)
    monkeypatch.setattr(Checkpoint, "tensor", None)
    model = gemma3n.load("nano", parts=["audio"], device="cpu", towers="int8")
    assert any(isinstance(one, RoundedMap) for one in model.audio.modules())


def test_a_mapped_table_is_on_disk_and_a_resident_one_in_host_memory(
    checkpoint_folder: Path,
) -> None:
    mapped = plan_memory(checkpoint_folder, ple="mmap")
    resident = plan_memory(checkpoint_folder, ple="resident")
    assert mapped.tier("disk") == resident.tier("host") > 0
    assert mapped.tier("host") == resident.tier("disk") == 0


@pytest.mark.parametrize("bits", [8, 4])
def test_quantised_rows_are_planned_as_they_are_held(checkpoint_folder: Path, bits: int) -> None:
    ple = gemma3n.Ple("resident", bits)
    plan = plan_memory(checkpoint_folder, "e2b", ple=ple)
    model = gemma3n.load(checkpoint_folder, "e2b", parts=["text"], ple=ple)
    assert plan.tier("host") == model.text.table.table.weight.nbytes  # type: ignore[attr-defined]


def test_only_the_parts_asked_for_are_counted(checkpoint_folder: Path) -> None:
    audio = plan_memory(checkpoint_folder, parts=["audio"], batch=0)
    assert [item.what for item in audio.items] == ["audio tower", "audio embedder"]


def test_e4b_holds_the_published_bytes_of_keys_and_values() -> None:
    text, full = TextConfig(), NestedSize()
    # 2 KiB a token and layer; 16 sliding layers keep 512 tokens, 4 full ones all.
    assert kv_cache_bytes(text, full, 32_768, 1, 2) == 2048 * (16 * 512 + 4 * 32_768)
    assert kv_cache_bytes(text, full, 100, 3, 2) == 3 * 2048 * 20 * 100


def test_a_budget_takes_the_largest_size_that_fits(checkpoint_folder: Path) -> None:
    checkpoint = Checkpoint(checkpoint_folder)
    checkpoint.config.raw["nested_sizes"] = {
        "half": {"skip": [5, 6, 7, 8, 9], "widths": 128},
        "thin": {"widths": 200},
    }
    parts = ["text"]

    def choose(gigabytes: float) -> str:
        return largest_within(gigabytes, checkpoint, parts, "float32", gemma3n.Ple()).name

    assert choose(1) == "full"
    full = plan_memory(checkpoint_folder, "full", parts, "float32", batch=0).tier("device") / 1e9
    assert choose(full) == "full"
    assert choose(full * 0.99) == "thin"
    with pytest.raises(
        SettingsError, match=r"=1e-06, but .* 'half' needs \d\.\d\d MB with text\. Raise"
    ):
        choose(1e-6)


def test_a_plan_refuses_what_it_does_not_know(checkpoint_folder: Path) -> None:
    with pytest.raises(SettingsError, match="precision='int3'"):
        plan_memory(checkpoint_folder, precision="int3")
    with pytest.raises(SettingsError, match=r"parts=\['video'\]"):
        plan_memory(checkpoint_folder, parts=["video"])


def test_rounded_rows_change_the_plan_of_their_table_alone(checkpoint_folder: Path) -> None:
    plain = plan_memory(checkpoint_folder).items
    rounded = plan_memory(checkpoint_folder, ple=Ple(bits=8)).items
    others = [item for item in rounded if item.what != "PLE table"]
    assert others == [item for item in plain if item.what != "PLE table"]
    assert len(others) == len(plain) - 1


def test_a_plan_has_a_line_for_what_comes_and_goes() -> None:
    few, many = (plan_memory("nano", batch=rows) for rows in (1, 8))
    assert [plan.items[-1].what for plan in (few, many)] == [
        "activations, 1 rows",
        "activations, 8 rows",
    ]
    assert 0 < few.activations == few.items[-1].bytes < many.activations
    assert plan_memory("nano", batch=0).activations == 0


def test_activations_grow_with_pictures_and_clips_but_no_clip_is_longer_than_one_may_be() -> None:
    def taken(part: str, media: Media) -> int:
        return plan_memory("nano", parts=[part], media=media).activations

    assert taken("vision", Media(side=256)) < taken("vision", Media(side=512))
    longest = taken("audio", Media())
    assert taken("audio", Media(frames=100)) < longest == taken("audio", Media(frames=10_000))
