"""lm-eval's questions to our engine, held against the engine itself."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch

import gemma3n
from gemma3n.errors import InputError, SettingsError

pytest.importorskip("lm_eval", reason="extra lm-eval")
from lm_eval.api.instance import Instance
from lm_eval.api.registry import get_model

from pipelines.lm_eval_model import Gemma3nLM

MakeLM = Callable[..., Gemma3nLM]
PAIRS = [
    ("What comes after three?", " four"),
    ("What comes after three?", " five and six"),
    ("", "a picture of a cat"),
    ("Spell cat: ", "c a t"),  # the space is the answer's
    ("one two three", "\nfour"),
]


@pytest.fixture(scope="module")
def nano() -> gemma3n.Gemma3n:
    return gemma3n.load("nano", parts=["text"], precision="float32", device="cpu")


@pytest.fixture
def make_lm(nano: gemma3n.Gemma3n) -> MakeLM:
    return lambda **more: Gemma3nLM(model=nano, **more)


def asked(kind: Any, *arguments: tuple[Any, ...]) -> list[Instance]:
    return [Instance(kind, {}, args, number) for number, args in enumerate(arguments)]


@pytest.mark.parametrize("nested", ["full", "small"])
def test_a_continuation_is_as_likely_as_our_logits_say(make_lm: MakeLM, nested: str) -> None:
    lm = make_lm(nested=nested)
    found = lm.loglikelihood(asked("loglikelihood", *PAIRS), disable_tqdm=True)
    tokenizer = lm.model.tokenizer
    for (context, text), (total, is_greedy) in zip(PAIRS, found, strict=True):
        ids = [2, *tokenizer.encode(context + text)]
        start = 1 + len(tokenizer.encode(context.rstrip()))
        logits = lm.model.logits(torch.tensor([ids]), nested=nested)[0].float()
        logprobs = logits.log_softmax(-1)
        at = range(start, len(ids))
        assert total == pytest.approx(sum(logprobs[n - 1, ids[n]].item() for n in at), abs=1e-4)
        assert is_greedy == all(logits[n - 1].argmax() == ids[n] for n in at)


def test_an_answer_is_what_our_engine_generates_up_to_the_stop(make_lm: MakeLM) -> None:
    lm = make_lm()
    chats = [
        lm.apply_chat_template([{"role": "user", "content": text}])
        for text in ("Spell cat.", "What comes after three?", "Count from one to nine.")
    ]
    settings = {"until": [" four"], "max_gen_toks": 9, "do_sample": False}
    found = lm.generate_until(
        asked("generate_until", *[(chat, settings) for chat in chats]), disable_tqdm=True
    )
    prompts = ["Spell cat.", "What comes after three?", "Count from one to nine."]
    ours = lm.model.generate(prompts, max_new_tokens=9, stop=[" four"])
    assert found == ours
    assert found[0]
    assert not any(" four" in text for text in found)


def test_no_result_depends_on_the_batch(make_lm: MakeLM) -> None:
    one, eight = make_lm(batch_size=1), make_lm(batch_size="8")
    pairs = [*PAIRS, *((f"What comes after {word}?", " ten") for word in ("nine", "two", "six"))]
    each = [
        lm.loglikelihood(asked("loglikelihood", *pairs), disable_tqdm=True) for lm in (one, eight)
    ]
    for (total, is_greedy), (other, was_greedy) in zip(*each, strict=True):
        assert total == pytest.approx(other, abs=1e-4)
        assert is_greedy == was_greedy
    wanted = [
        (text, {"until": ["\n"], "max_gen_toks": 5 + n % 2})
        for n, (text, _) in enumerate(pairs)
        if text
    ]
    said = [
        lm.generate_until(asked("generate_until", *wanted), disable_tqdm=True)
        for lm in (one, eight)
    ]
    assert said[0] == said[1]


def test_a_whole_text_is_the_sum_of_its_parts_however_long(make_lm: MakeLM) -> None:
    lm = make_lm()
    text = "one two three four five six seven eight nine"
    (whole,) = lm.loglikelihood_rolling(asked("loglikelihood_rolling", (text,)), disable_tqdm=True)
    ((total, _),) = lm.loglikelihood(asked("loglikelihood", ("", text)), disable_tqdm=True)
    assert whole == pytest.approx(total, abs=1e-4)
    short = make_lm(max_length=5)
    (parts,) = short.loglikelihood_rolling(
        asked("loglikelihood_rolling", (text,)), disable_tqdm=True
    )
    ids = lm.model.tokenizer.encode(text)
    assert len(ids) == 9
    want = 0.0
    for begin, end in [(0, 4), (4, 8), (8, 9)]:
        # A window is `<bos>`, one token or more that were told before, and the new ones.
        context = ids[max(0, end - 5) : begin]
        row = [2, *context, *ids[begin:end]]
        logprobs = lm.model.logits(torch.tensor([row]))[0].log_softmax(-1)
        new = range(len(row) - (end - begin), len(row))
        want += sum(logprobs[n - 1, row[n]].item() for n in new)
    assert parts == pytest.approx(want, abs=1e-4)


def test_what_is_too_long_loses_its_oldest_tokens_but_not_bos(make_lm: MakeLM) -> None:
    lm = make_lm(max_length=6)
    context, text = "one two three four five six seven", " eight nine"
    ((total, _),) = lm.loglikelihood(asked("loglikelihood", (context, text)), disable_tqdm=True)
    ids = lm.model.tokenizer.encode(context + text)
    row = [2, *ids[-6:]]
    logprobs = lm.model.logits(torch.tensor([row]))[0].log_softmax(-1)
    assert total == pytest.approx(
        logprobs[4, ids[-2]].item() + logprobs[5, ids[-1]].item(), abs=1e-4
    )
    with pytest.raises(InputError, match="Raise max_length"):
        lm.generate_until(
            asked("generate_until", (context, {"max_gen_toks": 6})), disable_tqdm=True
        )


def test_a_chat_has_its_control_tokens_and_text_never_makes_one(make_lm: MakeLM) -> None:
    lm = make_lm()
    tokenizer = lm.model.tokenizer
    chat = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "Spell cat. \ufdd0 <start_of_turn>"},
        {"role": "assistant", "content": "c a t"},
        {"role": "user", "content": "Spell dog."},
    ]
    ids = lm.tok_encode(lm.apply_chat_template(chat))
    turns = [
        gemma3n.Turn("system", ["Be short."]),
        gemma3n.Turn("user", ["Spell cat. \ufffd <start_of_turn>"]),
        gemma3n.Turn("model", ["c a t"]),
        gemma3n.Turn("user", ["Spell dog."]),
    ]
    assert ids == tokenizer.chat_ids(turns)
    begun = lm.apply_chat_template(
        [chat[1], {"role": "assistant", "content": "c a"}], add_generation_prompt=False
    )
    assert lm.tok_encode(begun)[-3:] == tokenizer.encode("\nc a")


def test_the_harness_makes_it_of_its_model_args() -> None:
    lm = get_model("gemma3n").create_from_arg_string(
        "path=nano,nested=small,precision=float32,max_length=64", {"batch_size": "auto"}
    )
    assert isinstance(lm, Gemma3nLM)
    assert (lm.model.size_name, lm.batch_size, lm.max_length) == ("small", 8, 64)
    with pytest.raises(SettingsError, match="batch_size=many"):
        Gemma3nLM(batch_size="many")


@pytest.mark.slow
def test_its_own_command_knows_our_model(tmp_path: Any) -> None:
    words = ["--model", "gemma3n", "--model_args", "path=nano,nested=huge", "--tasks", "arc_easy"]
    run = subprocess.run(
        [sys.executable, "-m", "pipelines.lm_eval_cli", *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "huge" in run.stderr  # it came as far as our own refusal
    assert "SettingsError" in run.stderr
