"""A model that stages can share without weights: what it is given shows in what it returns."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from gemma3n.chat import Mark, Turn
from gemma3n.config import Config, TextConfig
from gemma3n.errors import InputError
from gemma3n.generate import Completion, Prompt
from gemma3n.sampling import Sampling
from stages.model import Load


class FakeTokenizer:
    def chat_ids(self, turns: list[Turn]) -> list[int]:
        content = [part for turn in turns for part in turn.content]
        return [2, *self.prompt_ids(content)[1:], 9]

    def prompt_ids(self, content: list[str | Mark]) -> list[int]:
        ids = {Mark.IMAGE: 513, Mark.AUDIO: 529}
        return [2, *(ids[c] if isinstance(c, Mark) else len(c) for c in content)]


@dataclass
class FakeModel:
    """Soft tokens are sums of their input; a prompt that holds id 99 does not fit the context."""

    tokenizer = FakeTokenizer()
    size_name = "small"
    config = Config(text=TextConfig(max_position_embeddings=8))

    def __post_init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []

    def encode_audio(self, mels: Sequence[Tensor]) -> list[Tensor]:
        self.calls.append(("audio", len(mels)))
        return [mel.sum(dim=1, keepdim=True) for mel in mels]

    def encode_images(self, pixels: Tensor) -> Tensor:
        self.calls.append(("images", pixels.shape))
        return pixels.float().flatten(2).sum(2)[:, None, :]

    def fuse(self, ids: Sequence[int], audio: Sequence[Tensor], images: Sequence[Tensor]) -> Tensor:
        self.calls.append(("fuse", (list(ids), len(audio), len(images))))
        return torch.tensor([[float(i)] for i in ids])

    def complete(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Completion]:
        self.calls.append(("complete", ([p.seed for p in prompts], sampling)))
        if any(99 in prompt.token_ids for prompt in prompts):
            raise InputError("the prompt does not fit")
        return [
            Completion(list(p.token_ids), [-1.0] * len(p.token_ids), f"{len(p.token_ids)} ids")
            for p in prompts
        ]


@pytest.fixture
def fake_model(monkeypatch: pytest.MonkeyPatch) -> FakeModel:
    model = FakeModel()
    for module in ("encode", "fuse", "decode"):
        monkeypatch.setattr(f"stages.{module}.shared_model", lambda load: model)
    return model


@pytest.fixture
def load() -> Load:
    return Load(folder="nowhere")
