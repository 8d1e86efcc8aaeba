"""Rows of one nested size, from prompts to completions, a token of each at a time."""

from collections.abc import Sequence

from gemma3n.answers import Answers, Completion
from gemma3n.slots import Prompt, Slots


class Lane:
    """Rows that go together: one size alone, a token of each row a pass."""

    def __init__(self, slots: Slots, answers: Answers) -> None:
        self.slots, self.answers = slots, answers

    @property
    def rows(self) -> int:
        """Rows on their way."""
        return len(self.answers.keys)

    def admit(self, prompts: Sequence[tuple[int, Prompt]]) -> None:
        """Read prompts, each with a key, and choose the first token of each."""
        first = self.rows
        self._begin(prompts)
        logits = self.slots.admit([prompt for _, prompt in prompts])
        self.answers.take(range(first, self.rows), logits)

    def step(self) -> None:
        """Choose the next token, or several, of each row."""
        logits = self.slots.step([self.answers.last(row) for row in range(self.rows)])
        self.answers.take(range(self.rows), logits)

    def ahead(self) -> None:
        """Begin to bring the PLE rows of each row's last token, which the next step reads."""
        self.slots.model.text.ahead([self.answers.last(row) for row in range(self.rows)])

    def ended(self) -> list[tuple[int, Completion]]:
        """Answers that have ended, by key; their rows are free again."""
        done = []
        for row in self.answers.ended():
            self._leave(row)
            done.append(self.answers.leave(row))
        return done

    def _begin(self, prompts: Sequence[tuple[int, Prompt]]) -> None:
        """Begin an answer for each prompt, as long as sampling and context let it be."""
        context = self.slots.model.config.text.max_position_embeddings
        most = self.answers.sampling.max_new_tokens
        for key, prompt in prompts:
            self.answers.begin(key, min(most, context - len(prompt.token_ids)), prompt.seed)

    def _leave(self, row: int) -> None:
        """Free a row; the last one takes its number."""
        self.slots.leave(row)
