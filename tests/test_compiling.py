from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

import gemma3n
from gemma3n import compiling
from gemma3n.compiling import check, compile_decoder, structure
from gemma3n.errors import SettingsError
from gemma3n.slots import Prompt, Slots


def logits(model: gemma3n.Gemma3n, rows: int) -> Tensor:
    """Of prompts of different lengths and of four more tokens each, [5, rows, vocab]."""
    slots = Slots(model, rows, model.running(None))
    prompts = [Prompt(list(range(5, 25 + row))) for row in range(rows)]
    with torch.inference_mode():
        return torch.stack([slots.admit(prompts), *(slots.step([9 + n] * rows) for n in range(4))])


def test_layers_that_are_built_alike_share_what_is_compiled(checkpoint_folder: Path) -> None:
    text = gemma3n.load(checkpoint_folder, parts=["text"], precision="float32").text
    config = text.config
    builds: dict[object, set[tuple[object, ...]]] = {}
    for number, width in enumerate(config.intermediate_size):
        what = (
            config.activation_sparsity_pattern[number],
            width,
            config.kv_source(number) == number,
        )
        builds.setdefault(structure(text.layer(number)), set()).add(what)
    assert all(len(alike) == 1 for alike in builds.values())
    assert len(builds) < len(text.layers)
    assert len(builds) == len(set.union(*builds.values()))


def test_a_route_is_part_of_how_a_layer_is_built(checkpoint_folder: Path) -> None:
    builds = {
        structure(
            gemma3n.load(
                checkpoint_folder, parts=["text"], precision=precision, pack=pack
            ).text.layer(0)
        )
        for precision, pack in (
            ("float32", False),
            ("bfloat16", False),
            ("int8", False),
            ("int4", False),
        )
    }
    assert len(builds) == 4


def test_both_halves_of_every_layer_are_what_was_compiled(
    checkpoint_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[str] = []

    def stood_in(function: Callable[..., object], **_: object) -> Callable[..., object]:
        def compiled(*given: object) -> object:
            called.append(function.__name__)
            return function(*given)

        return compiled

    model = gemma3n.load(checkpoint_folder, parts=["text"], precision="float32")
    plain = logits(model, 1)
    monkeypatch.setattr(torch, "compile", stood_in)
    monkeypatch.setattr(compiling, "_compiled", {})
    check.cache_clear()
    compile_decoder(model.text)
    called.clear()
    assert torch.equal(logits(model, 1), plain)
    # The last token of a prompt is all that layers after the last with own K/V see: one pass.
    halves = [name for name in called if name in ("enter", "leave")]
    assert halves == ["enter", "leave"] * len(model.text.layers) * 5
    assert called.count("project") == 5
    streams = model.config.text.altup_num_inputs - 1  # that are opened, and closed
    assert called.count("forward") == 2 * streams * 5
    check.cache_clear()


def test_where_torch_cannot_compile_nothing_is_loaded(
    checkpoint_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> Callable[..., object]:
        raise RuntimeError("No working C++ compiler found in CXX=g++\nand more")

    monkeypatch.setattr(torch, "compile", fails)
    check.cache_clear()
    with pytest.raises(
        SettingsError, match=r"compile=true, .* on cpu .*CXX=g\+\+\. Install a C\+\+"
    ):
        gemma3n.load(checkpoint_folder, parts=["text"], compile=True, device="cpu")
    # Towers are not compiled: who loads them alone need not wait to learn of it.
    gemma3n.load(checkpoint_folder, parts=["audio"], compile=True, device="cpu")
    monkeypatch.setattr(torch, "compile", lambda _: lambda x: x)
    check.cache_clear()
    with pytest.raises(SettingsError, match="is wrong"):
        gemma3n.load(checkpoint_folder, parts=["text"], compile=True, device="cpu")
    check.cache_clear()


@pytest.mark.slow
@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize(
    ("precision", "pack", "least"),
    [
        ("float32", False, 0.999999),
        ("bfloat16", False, 0.99),
        ("bfloat16", True, 0.99),
        ("int8", False, 0.99),
        ("int8", True, 0.99),
    ],
)
def test_compiled_layers_compute_the_same(
    checkpoint_folder: Path, precision: str, pack: bool, least: float
) -> None:
    model = gemma3n.load(checkpoint_folder, parts=["text"], precision=precision, pack=pack)
    plain = {rows: logits(model, rows) for rows in (1, 3, 5)}
    compile_decoder(model.text)
    for rows, expected in plain.items():
        found = logits(model, rows)
        likeness = torch.nn.functional.cosine_similarity(found, expected, dim=-1)
        assert float(likeness.min()) > least
        assert precision != "float32" or torch.equal(found.argmax(-1), expected.argmax(-1))


@pytest.mark.slow
@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_long_rows_are_summed_the_same_in_stretches(
    checkpoint_folder: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    model = gemma3n.load(checkpoint_folder, parts=["text"], precision=precision, pack=False)
    expected = logits(model, 1)
    config = model.config.text
    shortest = min(config.hidden_size, *config.intermediate_size)
    monkeypatch.setattr("gemma3n.routes.single._STRETCH", shortest // 2)
    monkeypatch.setattr(compiling, "_compiled", {})
    compile_decoder(model.text)
    likeness = torch.nn.functional.cosine_similarity(logits(model, 1), expected, dim=-1)
    assert float(likeness.min()) > (0.999999 if precision == "float32" else 0.99)
