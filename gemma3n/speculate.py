"""A small nested size drafts tokens, a large one checks them in one pass. arXiv 2211.17192.

What comes out is what the large size alone says: token for token when greedy, and in distribution
when sampled. Both sizes are views of the same weights, unless the draft is loaded at a lower
precision.
"""

import time
from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from gemma3n.answers import ACCEPTED, DIRECT, DRAFTED, Answers, Ints
from gemma3n.choose import distribution, draw, logprobs_of
from gemma3n.draft_length import DraftLength
from gemma3n.lanes import Lane
from gemma3n.slots import Prompt, Slots


class SpeculativeLane(Lane):
    """One size that answers, another that drafts for it.

    Args:
        slots: of the size that answers; its `spare` is the longest draft.
        draft: of the size that drafts, as many rows.
        answers: the growing answers.
        length: of the drafts.
    """

    def __init__(self, slots: Slots, draft: Slots, answers: Answers, length: DraftLength) -> None:
        super().__init__(slots, answers)
        self.draft, self.length = draft, length
        self.unseen: list[list[int]] = []  # of each row, the last tokens: the draft has yet to read
        self.counts: Counter[str] = Counter()  # tokens `drafted`, and of them `accepted`

    def admit(self, prompts: Sequence[tuple[int, Prompt]]) -> None:
        """See `Lane`."""
        first = self.rows
        self.draft.admit([prompt for _, prompt in prompts])
        super().admit(prompts)
        self.unseen += [[self.answers.last(row)] for row in range(first, self.rows)]

    def step(self) -> None:
        """See `Lane`."""
        rows = np.arange(self.rows)
        length = self.length.choose()
        if not self.length.fixed:  # where it is, answers may not depend on other rows' room
            room = int((self.answers.rooms[rows] - self.answers.counts[rows]).max())
            length = min(length, room - 1)
        if length < 1:
            self._plain(rows)
        else:
            self._round(rows, length)

    def _leave(self, row: int) -> None:
        super()._leave(row)
        self.draft.leave(row)
        self.unseen[row] = self.unseen[-1]
        self.unseen.pop()

    def _plain(self, rows: Ints) -> None:
        began = time.perf_counter()
        self.answers.take(range(len(rows)), self.slots.step([seen[-1] for seen in self.unseen]))
        self.length.plain(time.perf_counter() - began)
        for row in rows.tolist():
            self.unseen[row].append(self.answers.last(row))

    def _round(self, rows: Ints, length: int) -> None:
        began = time.perf_counter()
        drafted, drafts = self._drafted(rows, length)
        given = drafted.tolist()  # waits for the device: only now drafting has ended
        drawn = time.perf_counter()
        last = [seen[-1] for seen in self.unseen]
        logits = self.slots.extend([[a, *b] for a, b in zip(last, given, strict=True)])
        right, chosen = self.judge(rows, logits, drafted, drafts)
        accepted = right.cpu().numpy()
        self.counts.update(drafted=len(rows) * length, accepted=int(accepted.sum()))
        self._note(rows, accepted, chosen.cpu().numpy(), logprobs_of(logits, chosen).cpu().numpy())
        self.length.round(length, accepted.tolist(), drawn - began, time.perf_counter() - drawn)
        for row, count in enumerate(accepted.tolist()):
            self.slots.take_back(row, length - count)
            self.draft.take_back(row, max(length - 1 - count, 0))
            new = [*given[row][:count], int(chosen[row, count])]
            self.unseen[row] = new[-2:] if count == length else new[-1:]

    def judge(
        self, rows: Ints, logits: Tensor, drafted: Tensor, drafts: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """How many of each row's draft stay, and the tokens chosen up to the one after them.

        Args:
            rows: their numbers.
            logits: of the size that answers, [rows, length + 1, vocab].
            drafted: int64 [rows, length]
            drafts: of each place, the distribution that its draft came from, [rows, vocab].

        Returns:
            int64 [rows]; int64 [rows, length + 1], of no meaning past the first wrong one.
        """
        if self.answers.sampling.temperature:
            return self._accepted(rows, logits, drafted, drafts)
        chosen = logits.argmax(-1)
        return (chosen[:, :-1] == drafted).long().cumprod(1).sum(1), chosen

    def _drafted(self, rows: Ints, length: int) -> tuple[Tensor, list[Tensor]]:
        """Drafts int64 [rows, length]; of each place, what it was drawn from [rows, vocab]."""
        sampling = self.answers.sampling
        tokens: list[Tensor] = []
        drafts: list[Tensor] = []
        logits = self.draft.extend(self.unseen, last=1)[:, 0]
        for ahead in range(length):
            if ahead:
                logits = self.draft.step(tokens[-1].tolist())
            if sampling.temperature:
                drafts.append(distribution(logits, sampling))
                draws = self.answers.draws(rows, DRAFTED, ahead).to(logits.device)
                tokens.append(draw(drafts[-1], draws))
            else:
                tokens.append(logits.argmax(-1))
        return torch.stack(tokens, 1), drafts

    def _accepted(
        self, rows: Ints, logits: Tensor, drafted: Tensor, drafts: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """What `judge` says of samples."""
        sampling, chosen, held = self.answers.sampling, [], []
        for ahead in range(logits.shape[1]):
            wanted = distribution(logits[:, ahead], sampling)
            draws = self.answers.draws(rows, DIRECT, ahead).to(logits.device)
            if ahead == len(drafts):
                chosen.append(draw(wanted, draws))
                break
            token = drafted[:, ahead, None]
            asked = self.answers.draws(rows, ACCEPTED, ahead).to(logits.device)
            ratio = wanted.gather(1, token) / drafts[ahead].gather(1, token)
            is_right = asked < ratio.squeeze(1)
            # What the draft says too rarely is what a wrong token is replaced by.
            instead = draw((wanted - drafts[ahead]).clamp_min(0), draws)
            chosen.append(torch.where(is_right, drafted[:, ahead], instead))
            held.append(is_right)
        return torch.stack(held, 1).long().cumprod(1).sum(1), torch.stack(chosen, 1)

    def _note(self, rows: Ints, accepted: Ints, chosen: Ints, logprobs: np.ndarray) -> None:
        """Append each row's accepted tokens and the one after them, up to its end."""
        for place in range(chosen.shape[1]):
            rows = self.answers.running(rows[accepted[rows] >= place])
            self.answers.append(rows, chosen[rows, place], logprobs[rows, place])
