"""Our engine as a model of EleutherAI's lm-eval, which brings tasks, few-shot prompts and scores.

Importing this registers it there as `gemma3n`; `lm_eval_cli` is the harness's own command with
that done. Needs the extra `lm-eval`.
"""

import json
import re
from collections.abc import Iterator
from itertools import groupby
from typing import Any
from zlib import crc32

from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from tqdm import tqdm

import gemma3n
from gemma3n.chat import Boundary, Mark, Turn, chat_layout
from gemma3n.errors import InputError, SettingsError
from gemma3n.generate import Prompt
from gemma3n.logprobs import Question, likelihoods
from gemma3n.sampling import Sampling

_BATCH = 8
_NEW_TOKENS = 256  # where a task says nothing
# How a chat's control tokens stand in the text that the harness passes around: noncharacters, which
# Unicode keeps for such use within a program. No text holds them; from what does they are taken.
_SIGNS = {Boundary.START: "\ufdd0", Boundary.END: "\ufdd1"}
_BOUNDARIES = {sign: boundary for boundary, sign in _SIGNS.items()}
_SIGN = re.compile(f"([{''.join(_BOUNDARIES)}])")

_Tokens = tuple[tuple[str, str], list[int], list[int]]  # texts, context, continuation


@register_model("gemma3n")
class Gemma3nLM(TemplateLM):  # type: ignore[misc,unused-ignore]  # where it is not installed
    """A checkpoint at one nested size.

    Every prompt begins with `<bos>`, without which Gemma is lost; what is too long loses its
    oldest tokens after that one.
    """

    def __init__(
        self,
        path: str = "nano",
        nested: str = "full",
        precision: str = "auto",
        pack: bool | None = None,
        device: str | None = None,
        ple: str | gemma3n.Ple = "mmap",
        batch_size: int | str | None = None,
        max_batch_size: int | None = None,
        max_length: int | None = None,
        model: gemma3n.Gemma3n | None = None,
    ) -> None:
        """Load it; the arguments are those of `--model_args`.

        Args:
            path: folder of a checkpoint, `nano`, or `owner/name` on the Hugging Face hub.
            nested: size, by name.
            precision: auto, float32, bfloat16, int8 or int4.
            pack: whether weights are packed copies; None where it helps.
            device: auto, cpu, cuda, cuda:N or mps.
            ple: mmap or resident.
            batch_size: rows at once; no result depends on it. `auto` is 8.
            max_batch_size: not used; lm-eval passes it.
            max_length: tokens of prompt and answer; the checkpoint's context by default.
            model: loaded already, with its text part; then the arguments above but `nested` do not
                count.

        Raises:
            SettingsError: no such checkpoint, size, or batch.
        """
        super().__init__()
        self.model = model or gemma3n.load(
            path,
            nested=nested,
            parts=["text"],
            precision=precision,
            pack=pack,
            device=device or "auto",
            ple=ple,
        )
        self.nested = nested if model is not None else None  # of what is loaded: None is all of it
        self.batch_size = _batch(batch_size)
        context = self.model.config.text.max_position_embeddings
        self.max_length = context if max_length is None else min(int(max_length), context)
        self.max_gen_toks = _NEW_TOKENS
        self._device = self.model.device

    @property
    def eot_token_id(self) -> int:
        """`<eos>`."""
        return int(self.model.config.text.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """`<bos>`: what a text without a context comes after."""
        return int(self.model.config.text.bos_token_id)

    @property
    def tokenizer_name(self) -> str:
        """By which the harness keeps prompts apart that it has made before."""
        return f"gemma3n-{self.model.config.text.vocab_size}"

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """What the harness notes of it: there is one, that of the released checkpoints."""
        return "gemma3n" if chat_template else None

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """A chat as one text, in which signs of our own stand for the control tokens."""
        roles = {"assistant": "model"}
        turns = [
            Turn(roles.get(turn["role"], turn["role"]), [_SIGN.sub("\ufffd", turn["content"])])
            for turn in chat_history
        ]
        layout = chat_layout(turns, open_model_turn=add_generation_prompt)
        if not add_generation_prompt:  # what the model said so far goes on
            layout = layout[:-2]
        return "".join(_SIGNS[part] if isinstance(part, Boundary) else str(part) for part in layout)

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **kwargs: Any
    ) -> list[int]:
        """Token ids, with `<bos>` in front unless `add_special_tokens` is false."""
        content: list[str | Mark | Boundary] = [
            _BOUNDARIES.get(part, part) for part in _SIGN.split(string) if part
        ]
        ids = self.model.tokenizer.prompt_ids(content)
        return ids[1:] if add_special_tokens is False else ids

    def loglikelihood_rolling(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[float]:
        """Log-probability of whole texts, in windows where they are longer than the context."""
        windows: list[_Tokens] = []
        owners: list[int] = []
        for number, request in enumerate(requests):
            (text,) = request.args
            # One token less than there is room for: a window's own <bos>.
            rolled = get_rolling_token_windows(
                self.tok_encode(text, add_special_tokens=False),
                prefix_token=self.prefix_token_id,
                max_seq_len=self.max_length - 1,
                context_len=1,
            )
            for context, target in map(make_disjoint_window, rolled):
                bos = [] if context[:1] == [self.prefix_token_id] else [self.prefix_token_id]
                windows.append((("", text), bos + context, target))
                owners.append(number)
        totals = [0.0] * len(requests)
        judged = self._loglikelihood_tokens(windows, disable_tqdm=disable_tqdm)
        for owner, (total, _) in zip(owners, judged, strict=True):
            totals[owner] += total
        for request, total in zip(requests, totals, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, total)
        return totals

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Answers, each up to the first of its stop texts, which is not part of it."""
        texts = [""] * len(requests)
        bar = tqdm(total=len(requests), desc="Answering", disable=disable_tqdm)

        def settings(number: int) -> str:
            return json.dumps(requests[number].args[1], sort_keys=True, default=str)

        for _, some in groupby(sorted(range(len(requests)), key=settings), key=settings):
            numbers = list(some)
            asked = normalize_gen_kwargs(requests[numbers[0]].args[1], self.max_gen_toks)
            sampling = _sampling(asked)
            room = self.max_length - sampling.max_new_tokens
            ids = {n: self._fitted(self.tok_encode(requests[n].args[0]), room) for n in numbers}
            for batch in self._batches(sorted(numbers, key=lambda n: -len(ids[n]))):
                prompts = [Prompt(ids[n], seed=crc32(requests[n].args[0].encode())) for n in batch]
                answers = self.model.complete(prompts, sampling, self.nested)
                for n, answer in zip(batch, answers, strict=True):
                    texts[n] = answer.text
                    self.cache_hook.add_partial("generate_until", requests[n].args, answer.text)
                bar.update(len(batch))
        bar.close()
        return texts

    def _loglikelihood_tokens(
        self, requests: list[_Tokens], disable_tqdm: bool = False, **kwargs: Any
    ) -> list[tuple[float, bool]]:
        found: list[tuple[float, bool]] = [(0.0, True)] * len(requests)
        # Choices that differ in their last token only are one pass.
        asked: dict[tuple[int, ...], list[int]] = {}
        targets: list[list[int]] = []
        for number, ((context_text, text), context, target) in enumerate(requests):
            if not target:  # the text melted into the last token of the context
                whole = self.tok_encode(context_text + text)
                context, target = whole[:-1], whole[-1:]
            targets.append(target)
            room = self.max_length - len(target) + 1
            ids = (*self._fitted(context, room), *target[:-1])
            asked.setdefault(ids, []).append(number)
        bar = tqdm(total=len(requests), desc="Judging", disable=disable_tqdm)
        for batch in self._batches(sorted(asked, key=len, reverse=True)):
            questions = [Question(ids, [targets[n] for n in asked[ids]]) for ids in batch]
            judged = likelihoods(self.model, questions, self.model.running(self.nested))
            for ids, likely in zip(batch, judged, strict=True):
                for n, one in zip(asked[ids], likely, strict=True):
                    found[n] = (one.total, one.greedy)
                    if requests[n][0][0]:  # with its texts, by which it is found again
                        self.cache_hook.add_partial("loglikelihood", requests[n][0], found[n])
                bar.update(len(asked[ids]))
        bar.close()
        return found

    def _batches(self, items: list[Any]) -> Iterator[list[Any]]:
        for start in range(0, len(items), self.batch_size):
            yield items[start : start + self.batch_size]

    def _fitted(self, context: list[int], room: int) -> list[int]:
        """The context, less its oldest tokens where it is longer than `room`; `<bos>` stays."""
        if len(context) <= room:
            return context
        if room < 2:
            raise InputError(
                f"what is to be said leaves room for {room} tokens of its context, with "
                f"max_length={self.max_length}. Raise max_length, or ask for fewer new tokens."
            )
        return [context[0], *context[len(context) - room + 1 :]]


def _batch(given: int | str | None) -> int:
    if given is None or str(given).startswith("auto"):
        return _BATCH
    if not str(given).isdigit() or int(given) < 1:
        raise SettingsError(f"batch_size={given}; accepted are 1 or more, and auto. Change it.")
    return int(given)


def _sampling(asked: Any) -> Sampling:
    """The harness's words for how to answer -> ours."""
    is_greedy = not asked.get("do_sample")
    return Sampling(
        max_new_tokens=asked["max_gen_toks"],
        temperature=0.0 if is_greedy else float(asked.get("temperature") or 1.0),
        top_k=int(asked.get("top_k") or 0),
        top_p=float(asked.get("top_p") or 1.0),
        stop=[text for text in asked["until"] if text],
    )
