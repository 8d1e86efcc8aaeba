"""`to=torch` writes programs that compute what the model does, run by torch alone."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import gemma3n
from gemma3n.errors import SettingsError
from gemma3n.matformer import resolve_size
from pipelines.export.litert import check_fits
from pipelines.export.torch_programs import write_torch
from pipelines.settings import Part
from pipelines.settings.export import ProgramSettings

CONTEXT, PREFILL = 32, 8
CLOSE = 1e-4


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, nano: gemma3n.Gemma3n) -> Path:
    folder = tmp_path_factory.mktemp("programs")
    settings = ProgramSettings(seconds=3.0, prefill=[PREFILL], context=CONTEXT)
    write_torch("nano", resolve_size("small", nano.config), folder, settings)
    return folder


def _described(folder: Path, name: str) -> tuple[dict[str, Any], Any]:
    """A program's description, and itself."""
    description = json.loads((folder / "programs.json").read_text())
    (one,) = (p for p in description["programs"] if p["name"] == name)
    return one, torch.export.load(folder / one["file"]).module()


def test_towers_give_the_model_s_soft_tokens(
    exported: Path, nano: gemma3n.Gemma3n, pixels: Tensor, mel: Tensor
) -> None:
    _, vision = _described(exported, "pixels_256")
    torch.testing.assert_close(vision(pixels), nano.encode_images(pixels), atol=CLOSE, rtol=0)
    described, audio = _described(exported, "frames_300")
    shape = described["inputs"][0]["shape"]
    assert shape == [1, 300, 128]
    padded, real = torch.zeros(shape), torch.zeros(shape[:2], dtype=torch.bool)
    padded[0, : len(mel)], real[0, : len(mel)] = mel, True
    soft, kept = audio(padded, real)
    (expected,) = nano.encode_audio([mel])
    torch.testing.assert_close(soft[kept], expected, atol=CLOSE, rtol=0)


def test_a_padded_prefill_and_steps_after_it_give_the_model_s_logits(
    exported: Path, nano: gemma3n.Gemma3n
) -> None:
    about = json.loads((exported / "programs.json").read_text())["text"]
    described, prefill = _described(exported, f"prefill_{PREFILL}")
    _, decode = _described(exported, "decode")
    ids, given = torch.randint(4, 600, (1, 7)), 5
    table = nano.checkpoint.tensor("text.embed_tokens.weight").float()
    embeddings = table[ids] * about["embedding_scale"]
    rows = nano.checkpoint.tensor("text.embed_tokens_per_layer.weight").float()[ids]
    rows = rows.unflatten(-1, (-1, 16))[:, :, about["layers"]]
    cache = [torch.zeros(one["shape"]) for one in described["inputs"][3:]]
    pad = PREFILL - given
    positions = torch.tensor([[*range(given), *[about["padding_position"]] * pad]])
    logits, *cache = prefill(
        torch.nn.functional.pad(embeddings[:, :given], (0, 0, 0, pad)),
        torch.nn.functional.pad(rows[:, :given], (0, 0, 0, 0, 0, pad)),
        positions.int(),
        *cache,
    )
    found = [logits[0, :given]]
    for at in range(given, ids.shape[1]):
        position = torch.tensor([[at]], dtype=torch.int32)
        logits, *cache = decode(embeddings[:, [at]], rows[:, [at]], position, *cache)
        found.append(logits[0])
    expected = nano.logits(ids, nested="small")[0]
    torch.testing.assert_close(torch.cat(found), expected, atol=CLOSE, rtol=0)


def test_what_has_no_program_is_refused(tmp_path: Path, nano: gemma3n.Gemma3n) -> None:
    full = resolve_size("full", nano.config)
    vision = ProgramSettings(parts=[Part.vision], resolutions=[300])
    with pytest.raises(SettingsError, match=r"program.resolutions=\[300\]; accepted are 256, 512"):
        write_torch("nano", full, tmp_path, vision)
    too_large = torch.nn.Linear(2**15, 2**14, device="meta")
    with pytest.raises(SettingsError, match=r"vision has 2\.\d+ GB of float32 weights, and a"):
        check_fits("vision", too_large)
    check_fits("vision", nano.vision)
    for wrong in ({"prefill": [1]}, {"context": 0}, {"seconds": 31.0}):
        with pytest.raises(SettingsError, match="program"):
            ProgramSettings(**wrong)
