"""Rows of one nested size, from prompts to completions, a token of each at a time."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from gemma3n.answers import Answers, Completion
from gemma3n.slots import Prompt, Slots

if TYPE_CHECKING:
    from gemma3n.model import Gemma3n


class Lane(Protocol):
    """Rows that go together."""

    @property
    def rows(self) -> int:
        """Rows on their way."""
        ...

    def admit(self, prompts: Sequence[tuple[int, Prompt]]) -> None:
        """Read prompts, each with a key, and choose the first token of each."""
        ...

    def step(self) -> None:
        """Choose the next token, or several, of each row."""
        ...

    def ended(self) -> list[tuple[int, Completion]]:
        """Answers that have ended, by key; their rows are free again."""
        ...


class PlainLane:
    """One size alone, a token of each row a pass."""

    def __init__(self, slots: Slots, answers: Answers) -> None:
        self.slots, self.answers = slots, answers

    @property
    def rows(self) -> int:
        """See `Lane`."""
        return len(self.answers.keys)

    def admit(self, prompts: Sequence[tuple[int, Prompt]]) -> None:
        """See `Lane`."""
        first = self.rows
        begin(self.answers, prompts, self.slots.model)
        logits = self.slots.admit([prompt for _, prompt in prompts])
        self.answers.take(range(first, self.rows), logits)

    def step(self) -> None:
        """See `Lane`."""
        logits = self.slots.step([self.answers.last(row) for row in range(self.rows)])
        self.answers.take(range(self.rows), logits)

    def ended(self) -> list[tuple[int, Completion]]:
        """See `Lane`."""
        done = []
        for row in self.answers.ended():
            self.slots.leave(row)
            done.append(self.answers.leave(row))
        return done


def begin(answers: Answers, prompts: Sequence[tuple[int, Prompt]], model: "Gemma3n") -> None:
    """Begin an answer for each prompt, as long as the sampling and the context let it be."""
    context, most = model.config.text.max_position_embeddings, answers.sampling.max_new_tokens
    for key, prompt in prompts:
        answers.begin(key, min(most, context - len(prompt.token_ids)), prompt.seed)
