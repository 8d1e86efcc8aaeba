"""A model that stages can share without weights: what it is given shows in what it returns."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from gemma3n.chat import Mark, Turn
from gemma3n.config import Config, TextConfig
from gemma3n.errors import InputError
from gemma3n.generate import Completion, Prompt
from gemma3n.policy import Policy
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

    def generation(
        self, sampling: Sampling, policy: Policy, slots: int, draft: object, groups: int
    ) -> "FakeGeneration":
        self.calls.append(("generation", (sampling, policy, slots, groups)))
        return FakeGeneration(self)


@dataclass
class FakeGeneration:
    """Answers with the number of ids; the last prompt that it was given first."""

    model: FakeModel

    def counts(self) -> Counter[str]:
        return Counter(drafted=2)

    def check(self, prompt: Prompt) -> None:
        if 99 in prompt.token_ids:
            raise InputError("the prompt does not fit")

    def stream(self, prompts: Iterator[tuple[int, Prompt]]) -> Iterator[tuple[int, Completion]]:
        for key, prompt in reversed(list(prompts)):
            count = len(prompt.token_ids)
            self.model.calls.append(("prompt", (prompt.seed, prompt.nested)))
            yield key, Completion([5] * count, [-1.0] * count, f"{count} ids", size="small")


@pytest.fixture
def fake_model(monkeypatch: pytest.MonkeyPatch) -> FakeModel:
    model = FakeModel()
    for module in ("encode", "fuse", "decode"):
        monkeypatch.setattr(f"stages.{module}.shared_model", lambda load: model)
    return model


@pytest.fixture
def fake_generation() -> type[FakeGeneration]:
    return FakeGeneration


@pytest.fixture
def load() -> Load:
    return Load(folder="nowhere")
