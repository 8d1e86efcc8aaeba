"""What exports are tried with: nano and media."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from torch import Tensor

import gemma3n
from gemma3n.chat import Mark
from gemma3n.vision.pixels import image_pixels
from pipelines.bench.peers.torchvision import stand_in

SAMPLES = Path(__file__).parents[1] / "samples"


stand_in()


@pytest.fixture(scope="session")
def llama_shape() -> dict[str, Any]:
    """What llama.cpp has in its source, and what nano's vocabulary needs; widths may be any."""
    period = ["sliding_attention"] * 4 + ["full_attention"]
    return {
        "num_hidden_layers": 22,
        "num_kv_shared_layers": 2,
        "layer_types": [*period * 4, "sliding_attention", "full_attention"],
        "vocab_size": 672,
        "vocab_size_per_layer_input": 640,
    }


@pytest.fixture(scope="session")
def nano() -> gemma3n.Gemma3n:
    """The trained checkpoint that comes with the package, in float32."""
    return gemma3n.load("nano", precision="float32", device="cpu")


@pytest.fixture(scope="session")
def mel() -> Tensor:
    """[frames, 128] of a spoken number."""
    waveform, _ = soundfile.read(SAMPLES / "audio/en_allison/string-407.wav", dtype="float32")
    return torch.from_numpy(gemma3n.log_mel(waveform))


@pytest.fixture(scope="session")
def pixels() -> Tensor:
    """[1, 3, 256, 256] of a handwritten digit, 0..1."""
    image = Image.open(SAMPLES / "images/digit-1305.png")
    return torch.from_numpy(image_pixels(image, 256)[None].astype(np.float32) / 255)


@pytest.fixture(scope="session")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of six pictures and of the clips that are shorter than 4 s."""
    rows = []
    for line in (SAMPLES / "images" / "manifest.jsonl").read_text().splitlines()[:6]:
        row = json.loads(line)
        rows.append({"image": str(SAMPLES / row["file"]), "text": row["caption"]})
    for line in (SAMPLES / "audio" / "manifest.jsonl").read_text().splitlines():
        row = json.loads(line)
        if row["seconds"] < 4:
            told = {name: row[name] for name in ("text", "seconds")}
            rows.append({"audio": str(SAMPLES / row["file"]), **told})
    path = tmp_path_factory.mktemp("labelled") / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="session")
def text_ids(nano: gemma3n.Gemma3n) -> Tensor:
    """[1, seq] of text alone, longer than nano's sliding window."""
    said = "please say the handwritten digit three and then ten of clubs, one nine. " * 9
    return torch.tensor([nano.tokenizer.prompt_ids([said])])


@pytest.fixture(scope="session")
def media_ids(nano: gemma3n.Gemma3n) -> Tensor:
    """[1, seq] of a prompt with an image and a clip."""
    content: list[str | Mark] = [
        "What is it? ",
        Mark.IMAGE,
        " and what is said? ",
        Mark.AUDIO,
        " Say.",
    ]
    return torch.tensor([nano.tokenizer.prompt_ids(content)])
