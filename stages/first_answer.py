"""Fused embeddings -> the text of a small nested size, or the prompt for a larger one."""

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

from gemma3n.errors import InputError
from gemma3n.policy import is_unsure
from stages.decode import Decode
from stages.row import Row

if TYPE_CHECKING:
    from gemma3n.generate import Completion, Prompt


class FirstAnswer(Decode):
    """The first half of `policy=auto`, where another process, which `Decode`s, is the second.

    The model is loaded at the small size. A row that this is unsure of goes on with its prompt and
    the log-probability that was `doubted`, one that names a size of its own just as it came.
    """

    def stream(self, rows: Iterator[Row], batch: int) -> Iterator[tuple[Row, InputError | None]]:
        """See `Stage.stream`."""
        others: deque[Row] = deque()

        def plain() -> Iterator[Row]:
            for row in rows:
                if row["nested"] is None:
                    yield row
                else:
                    self.counted["passed_on"] += 1
                    others.append(row)

        for done in super().stream(plain(), batch):
            yield done
            while others:
                yield others.popleft(), None
        yield from ((row, None) for row in others)

    def _prompt(self, row: Row) -> "Prompt":
        token_ids, embeddings = row["token_ids"], row["embeddings"]
        prompt = super()._prompt(row)
        # Kept until it is known whether the row needs them again.
        row["token_ids"], row["embeddings"] = token_ids, embeddings
        return prompt

    def _answered(self, row: Row, answer: "Completion") -> Row:
        if answer.logprob is not None and is_unsure(answer.logprob, self.policy.threshold):
            row["doubted"] = answer.logprob
            self.counted["passed_on"] += 1
            return row
        del row["token_ids"], row["embeddings"]
        return super()._answered(row, answer)
