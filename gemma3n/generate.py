"""Prompts -> completions: continuous decoding, in which a finished row's slot is taken at once."""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

import torch

from gemma3n.answers import Answers, Completion
from gemma3n.config import TextConfig
from gemma3n.draft_length import DraftLength
from gemma3n.errors import InputError, SettingsError
from gemma3n.lanes import Lane
from gemma3n.matformer import NestedSize
from gemma3n.policy import AUTO, SPECULATIVE, Policy, is_unsure
from gemma3n.sampling import Sampling
from gemma3n.slots import Prompt, Slots
from gemma3n.speculate import SpeculativeLane

if TYPE_CHECKING:
    from gemma3n.model import Gemma3n

__all__ = ["Completion", "Generation", "Prompt", "check_length"]

# A pass over a few prompts costs little more than over one, so slots wait for company: this share
# of them is free before prompts are read.
_REFILL = 0.25
_Queued = tuple[int, Prompt, NestedSize]


class Generation:
    """Answers prompts with one model, so many at once.

    Args:
        model: with its text part loaded.
        sampling: the same for all rows.
        nested: size that answers prompts without one of their own; None is the loaded one.
        policy: how a smaller size takes part.
        slots: rows decoded at once.
        chunk: prompt tokens of a row run at once, None for what suits; changes no token.
        on_token: called with (key, token id) as soon as a token stands: under `auto` when the
            answer does.
        draft: the model that drafts under `speculative`; None is the model itself.
        groups: that the slots are divided into, and that take turns: the PLE rows of one group's
            next tokens come while another computes. It changes no token.

    Raises:
        SettingsError: no slots, no groups, or a size that is not within the loaded one.
    """

    def __init__(
        self,
        model: "Gemma3n",
        sampling: Sampling,
        nested: str | NestedSize | None = None,
        policy: Policy | None = None,
        slots: int = 8,
        chunk: int | None = None,
        on_token: Callable[[int, int], None] | None = None,
        draft: "Gemma3n | None" = None,
        groups: int = 1,
    ) -> None:
        if slots < 1:
            raise SettingsError(f"slots={slots}; at least 1 row is decoded at once. Raise it.")
        if groups < 1:
            raise SettingsError(f"groups={groups}; at least 1, which is all slots. Raise it.")
        self.model, self.sampling, self.policy = model, sampling, policy or Policy()
        self.groups = min(groups, slots)
        self.slots, self.chunk, self.on_token = slots, chunk, on_token
        self.draft = draft or model
        self.size = model.nested_size(nested)
        self.small = None
        if self.policy.kind in (AUTO, SPECULATIVE):
            self.small = model.nested_size(self.policy.small)
        self._lanes: dict[tuple[NestedSize, int], Lane] = {}  # by size and group
        self._again: deque[_Queued] = deque()  # small answers that were given up
        self._doubted: dict[int, float] = {}  # by key: how likely the answer given up was
        self._open: dict[int, Prompt] = {}  # under `auto`, prompts that may be asked again

    @torch.inference_mode()
    def stream(self, prompts: Iterable[tuple[int, Prompt]]) -> Iterator[tuple[int, Completion]]:
        """Answer prompts as slots become free.

        Args:
            prompts: each with a key; taken one by one, when there is room.

        Yields:
            The key and its completion, in the order in which they end.

        Raises:
            InputError: a prompt that cannot be answered; see `check`.
        """
        coming = iter(prompts)
        while True:
            self._admit(coming)
            if not self._rows():
                return
            for (size, _), lane in self._lanes.items():
                yield from self._ended(size, lane)
            for (size, _), lane in self._lanes.items():
                if lane.rows:
                    lane.step()
                    yield from self._ended(size, lane)
                    self._ahead(lane)

    def counts(self) -> Counter[str]:
        """What speculation did so far: tokens `drafted`, and of them `accepted`."""
        counts: Counter[str] = Counter()
        for lane in self._lanes.values():
            if isinstance(lane, SpeculativeLane):
                counts += lane.counts
        return counts

    def check(self, prompt: Prompt) -> None:
        """Refuse a prompt that cannot be answered.

        Raises:
            InputError: it is empty or too long, holds an id that the model does not have or
                embeddings of another shape, or asks for a size that is not loaded.
        """
        check_prompt(prompt, self.model.config.text)
        try:
            self.model.nested_size(prompt.nested)
        except SettingsError as error:
            raise InputError(str(error)) from error

    def _rows(self) -> int:
        return sum(lane.rows for lane in self._lanes.values())

    def _admit(self, coming: Iterator[tuple[int, Prompt]]) -> None:
        free = self.slots - self._rows()
        if free < max(1, self.slots * _REFILL):
            return
        queued = [self._again.popleft() for _ in range(min(free, len(self._again)))]
        for key, prompt in islice(coming, free - len(queued)):
            self.check(prompt)
            queued.append((key, prompt, self._first_size(prompt)))
            if self.policy.kind == AUTO:
                self._open[key] = prompt
        for size in dict.fromkeys(size for _, _, size in queued):
            lanes = [self._lane(size, group) for group in range(self.groups)]
            taken: list[list[tuple[int, Prompt]]] = [[] for _ in lanes]
            for key, prompt, its in queued:
                if its == size:  # to the group with the fewest rows, which always has room
                    rows = [lane.rows + len(new) for lane, new in zip(lanes, taken, strict=True)]
                    taken[rows.index(min(rows))].append((key, prompt))
            for lane, new in zip(lanes, taken, strict=True):
                if new:
                    lane.admit(new)
                    self._ahead(lane)

    def _ahead(self, lane: Lane) -> None:
        if self.groups > 1 and lane.rows:
            lane.ahead()

    def _first_size(self, prompt: Prompt) -> NestedSize:
        if prompt.nested is not None:
            return self.model.nested_size(prompt.nested)
        if self.policy.kind == AUTO and self.small is not None:
            return self.small
        return self.size

    def _ended(self, size: NestedSize, lane: Lane) -> Iterator[tuple[int, Completion]]:
        for key, answer in lane.ended():
            answer.size = size.label
            if self.policy.kind == AUTO:
                prompt = self._open[key]
                if self._is_doubtful(size, prompt, answer):
                    self._doubted[key] = answer.logprob or 0.0
                    self._again.append((key, prompt, self.size))
                    continue
                answer.doubted = self._doubted.pop(key, None)
                del self._open[key]
                if self.on_token is not None:
                    for token in answer.token_ids:
                        self.on_token(key, token)
            yield key, answer

    def _is_doubtful(self, size: NestedSize, prompt: Prompt, answer: Completion) -> bool:
        if prompt.nested is not None or size == self.size:
            return False
        return is_unsure(answer.logprob, self.policy.threshold)

    def _lane(self, size: NestedSize, group: int) -> Lane:
        if (size, group) not in self._lanes:
            self._lanes[size, group] = self._new_lane(size)
        return self._lanes[size, group]

    def _new_lane(self, size: NestedSize) -> Lane:
        model, longest = self.model, self.policy.draft_tokens
        count = -(-self.slots // self.groups)
        # At another precision even the same size is worth drafting with.
        is_other = size != self.small or self.draft is not model
        drafts = self.policy.kind == SPECULATIVE and is_other
        slots = Slots(model, count, model.running(size), longest if drafts else 0, self.chunk)
        answers = Answers(
            self.sampling,
            model.stop_ids if self.sampling.stop_ids is None else self.sampling.stop_ids,
            model.decode_text,
            count,
            min(self.sampling.max_new_tokens, model.config.text.max_position_embeddings),
            None if self.policy.kind == AUTO else self.on_token,
        )
        if not drafts:
            return Lane(slots, answers)
        draft = Slots(self.draft, count, self.draft.running(self.small), longest, self.chunk)
        # What is sampled depends on where drafts end, and nothing may depend on the clock.
        length = DraftLength(longest, fixed=self.sampling.temperature > 0)
        return self.speculative_lane(slots, draft, answers, length)

    def speculative_lane(
        self, slots: Slots, draft: Slots, answers: Answers, length: DraftLength
    ) -> SpeculativeLane:
        """Joins the size that answers and the one that drafts."""
        return SpeculativeLane(slots, draft, answers, length)


def complete(generation: Generation, prompts: Sequence[Prompt]) -> list[Completion]:
    """Complete all prompts.

    Returns:
        One completion a prompt, in order; each depends on its own row only.

    Raises:
        InputError: a prompt that cannot be answered; nothing has been computed then.
    """
    for prompt in prompts:
        generation.check(prompt)
    done = dict(generation.stream(enumerate(prompts)))
    return [done[key] for key in range(len(prompts))]


def check_length(length: int, context: int) -> None:
    """Refuse a prompt that cannot be answered.

    Args:
        length: of the prompt, in tokens.
        context: tokens that prompt and answer may have together.

    Raises:
        InputError: it is empty, or leaves no room for an answer.
    """
    if length == 0:
        raise InputError("the prompt is empty; give at least one token.")
    if length >= context:
        raise InputError(
            f"the prompt has {length} tokens, {length - context + 1} too many: the context "
            f"holds {context} and an answer needs 1. Shorten the text, or use fewer media."
        )


def check_prompt(prompt: Prompt, text: TextConfig) -> None:
    """Refuse a prompt that the model cannot read.

    Raises:
        InputError: it is empty or too long, holds an id that the model does not have, or
            embeddings of another shape.
    """
    check_length(len(prompt.token_ids), text.max_position_embeddings)
    worst = max(prompt.token_ids, key=lambda token: max(token, -token * text.vocab_size))
    if not 0 <= worst < text.vocab_size:
        raise InputError(
            f"the prompt holds token id {worst}; accepted are 0 to {text.vocab_size - 1}. "
            "Use the tokenizer of this checkpoint."
        )
    expected = (len(prompt.token_ids), text.hidden_size)
    if prompt.embeddings is not None and tuple(prompt.embeddings.shape) != expected:
        raise InputError(
            f"the prompt's embeddings have shape {list(prompt.embeddings.shape)}; accepted is "
            f"{list(expected)}, one for each token. Make them with `fuse`."
        )
