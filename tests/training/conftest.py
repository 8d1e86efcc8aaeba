"""Small manifests of real samples, and a job that learns from them in seconds."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gemma3n.audio.mel import MelConfig
from gemma3n.choices import Precision
from gemma3n.config import Config
from gemma3n.tokenizer import Tokenizer
from pipelines.settings import BatchSettings, LossSettings, RateSettings, TrainJob
from pipelines.training.batch import Collator
from pipelines.training.examples import Kind

SAMPLES = Path(__file__).parents[1] / "samples"
MakeJob = Callable[..., TrainJob]
PROMPTS = {Kind.audio: "Transcribe: <audio>", Kind.image: "<image>"}


@pytest.fixture
def make_job(tmp_path: Path, checkpoint_folder: Path) -> MakeJob:
    """A training job on six clips, four images and three rows of text."""
    rows: dict[str, list[dict[str, Any]]] = {"audio": [], "images": [], "text": []}
    for medium, key, most in (("audio", "audio", 6), ("images", "image", 4)):
        for line in (SAMPLES / medium / "manifest.jsonl").read_text().splitlines()[:most]:
            row = json.loads(line)
            text = row.get("text") or row.get("caption")
            path = str(SAMPLES / row["file"])
            rows[medium].append(
                {key: path, "text": text, "seconds": row.get("seconds"), "set": medium}
            )
    rows["audio"][0]["phones"] = "SIL:5 AH:9"
    for word in ("cat", "dog", "bird"):
        rows["text"].append({"prompt": f"Spell {word}.", "text": " ".join(word), "set": "text"})
    manifests = []
    for name, lines in rows.items():
        manifests.append(tmp_path / f"{name}.jsonl")
        manifests[-1].write_text("".join(json.dumps(line) + "\n" for line in lines))

    def make(output: str, **settings: Any) -> TrainJob:
        settings = {
            "steps": 4,
            "precision": Precision.float32,
            "loss": LossSettings(1.0, 0.3, 0.2, 0.2, 0.1),
            "batch": BatchSettings(audio_seconds=12, images=2, texts=2),
            "rate": RateSettings(warmup=2),
            "validate_steps": 0,
            "audio_prompt": "Transcribe: <audio>",
            "image_prompt": "<image>",
            **settings,
        }
        return TrainJob(
            init=str(checkpoint_folder),
            train=[str(path) for path in manifests],
            output=str(tmp_path / output),
            **settings,
        )

    return make


@pytest.fixture
def collate(checkpoint_folder: Path) -> Collator:
    config = Config.from_folder(checkpoint_folder)
    tokenizer = Tokenizer(checkpoint_folder, config)
    return Collator(tokenizer, MelConfig(), 256, PROMPTS)
