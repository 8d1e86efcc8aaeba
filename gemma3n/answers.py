"""The growing answers of rows that are decoded together: tokens in, completions out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gemma3n.choose import logprobs_of, sample
from gemma3n.sampling import Sampling

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

_RUNNING, _STOP, _LENGTH = 0, 1, 2
_FINISH = {_STOP: "stop", _LENGTH: "length"}
# Random numbers of each token of an answer. They go by its place in the answer, so that neither
# batch mates nor the length of a draft change what a row draws.
DIRECT, DRAFTED, ACCEPTED = range(3)


@dataclass
class Completion:
    """What the model said."""

    token_ids: list[int] = field(default_factory=list)  # without the stop id
    logprobs: list[float] = field(default_factory=list)  # natural log, of each token
    text: str = ""
    finish: str = "length"  # "stop": it ended by itself; "length": it was cut
    size: str = ""  # name of the nested size that said it
    doubted: float | None = None  # mean log-probability of a smaller size's answer, given up

    @property
    def logprob(self) -> float | None:
        """Mean natural-log probability of the tokens; None of no tokens."""
        return sum(self.logprobs) / len(self.logprobs) if self.logprobs else None


class Answers:
    """One growing answer a row, as many as there are slots.

    Args:
        sampling: the same for all rows.
        stop_ids: tokens that end an answer and are not part of it.
        decode: token ids -> text.
        count: of rows, at the most.
        longest: room of the answers, in tokens.
        on_token: called with (key, token id) as soon as a token is known.
    """

    def __init__(
        self,
        sampling: Sampling,
        stop_ids: Sequence[int],
        decode: Callable[[list[int]], str],
        count: int,
        longest: int,
        on_token: Callable[[int, int], None] | None = None,
    ) -> None:
        self.sampling, self.decode, self.on_token = sampling, decode, on_token
        self.stop_ids = np.array(sorted(set(stop_ids)), dtype=np.int64)
        self.keys: list[int] = []  # whose answer each row is
        self.rooms = np.zeros(count, np.int64)  # tokens that an answer may have
        self.counts = np.zeros(count, np.int64)  # tokens that it has
        self._state = np.zeros(count, np.int8)
        self._cut: dict[int, int] = {}  # by row: where its text ends, at a stop text
        self._ids = np.zeros((count, longest), np.int64)
        self._logprobs = np.zeros((count, longest), np.float32)
        self._draws = np.zeros((count, longest if sampling.temperature else 0, 3), np.float32)

    def begin(self, key: int, room: int, seed: int) -> None:
        """Begin an answer in the next row.

        Args:
            key: whose it is.
            room: tokens that it may have.
            seed: of its sampling.
        """
        row = len(self.keys)
        self.keys.append(key)
        self.rooms[row], self.counts[row], self._state[row] = room, 0, _RUNNING
        if self.sampling.temperature:
            seeded = torch.Generator().manual_seed(seed)
            self._draws[row, :room] = torch.rand((room, 3), generator=seeded).numpy()

    def take(self, rows: range, logits: Tensor) -> None:
        """Choose and note the next token of neighbouring rows from float32 logits [rows, vocab]."""
        numbers = np.arange(rows.start, rows.stop)
        if self.sampling.temperature:
            chosen = sample(logits, self.sampling, self.draws(numbers, DIRECT).to(logits.device))
        else:
            chosen = logits.argmax(-1)
        logprobs = logprobs_of(logits, chosen)
        self.append(numbers, chosen.cpu().numpy(), logprobs.cpu().numpy())

    def draws(self, rows: Ints, kind: int, ahead: int = 0) -> Tensor:
        """Random numbers in 0..1, float32 [rows], of the token so many ahead of the next one."""
        places = np.minimum(self.counts[rows] + ahead, self._draws.shape[1] - 1)
        return torch.from_numpy(self._draws[rows, places, kind])

    def append(self, rows: Ints, token_ids: Ints, logprobs: Floats) -> None:
        """Note one more token of rows that are running."""
        stopped = np.isin(token_ids, self.stop_ids)
        self._state[rows[stopped]] = _STOP
        said = rows[~stopped]
        self._ids[said, self.counts[said]] = token_ids[~stopped]
        self._logprobs[said, self.counts[said]] = logprobs[~stopped]
        self.counts[said] += 1
        self._state[said[self.counts[said] == self.rooms[said]]] = _LENGTH
        if self.on_token is not None:
            for row, token in zip(said.tolist(), token_ids[~stopped].tolist(), strict=True):
                self.on_token(self.keys[row], token)
        if self.sampling.stop:
            for row in said.tolist():
                self._look_for_stop(row)

    def running(self, rows: Ints) -> Ints:
        """Those of the rows that have not ended."""
        return rows[self._state[rows] == _RUNNING]

    def last(self, row: int) -> int:
        """The last token of a row."""
        return int(self._ids[row, self.counts[row] - 1])

    def ended(self) -> list[int]:
        """Rows that have ended, the last first: so they can leave one after another."""
        return np.flatnonzero(self._state[: len(self.keys)])[::-1].tolist()

    def leave(self, row: int) -> tuple[int, Completion]:
        """The key and the answer of a row that has ended; the last row takes its place."""
        count = int(self.counts[row])
        answer = Completion(self._ids[row, :count].tolist(), self._logprobs[row, :count].tolist())
        answer.finish = _FINISH[int(self._state[row])]
        answer.text = self.decode(answer.token_ids)[: self._cut.pop(row, None)]
        key, last = self.keys[row], len(self.keys) - 1
        if row != last:
            self.keys[row] = self.keys[last]
            for held in (self.rooms, self.counts, self._state, self._ids, self._logprobs):
                held[row] = held[last]
            self._draws[row] = self._draws[last]
            if last in self._cut:
                self._cut[row] = self._cut.pop(last)
        self.keys.pop()
        self._state[last] = _RUNNING
        return key, answer

    def _look_for_stop(self, row: int) -> None:
        text = self.decode(self._ids[row, : self.counts[row]].tolist())
        found = [at for stop in self.sampling.stop if (at := text.find(stop)) >= 0]
        if found:
            self._state[row], self._cut[row] = _STOP, min(found)
