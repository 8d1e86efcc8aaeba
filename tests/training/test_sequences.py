"""Rows that share sequences: nothing that is learned of a row changes, and no row sees another."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gemma3n.checkpoint import Checkpoint
from gemma3n.joint import Weighted
from gemma3n.text.attention import attention_masks, whole_sequence
from gemma3n.text.cache import KVCache
from gemma3n.tokenizer import Tokenizer
from gemma3n.trainable import Trainable
from pipelines.settings import BatchSettings, LossSettings, TrainJob
from pipelines.train import train
from pipelines.training.batch import Batch, Collator
from pipelines.training.examples import Example, Kind, read_examples
from pipelines.training.objective import Objective
from pipelines.training.sequences import places, sequences

FOLDER = Path(__file__).parents[1] / "golden" / "checkpoint"
words = st.lists(st.sampled_from(["cat", "dog", "a bird", "tree"]), min_size=1, max_size=30)


@pytest.fixture(scope="module")
def trainable() -> Trainable:
    checkpoint = Checkpoint(FOLDER)
    model = Trainable(checkpoint.config)
    model.load(checkpoint)
    return model


@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=30))
def test_each_row_has_a_place_of_its_own_and_no_sequence_is_longer_than_a_row(
    lengths: list[int],
) -> None:
    shared = sequences(lengths, pack=True)
    assert sorted(n for rows in shared for n in rows) == list(range(len(lengths)))
    used = torch.zeros(len(shared), max(lengths), dtype=torch.int64)
    order = [n for rows in shared for n in rows]
    for n, (sequence, span) in zip(order, places(shared, lengths), strict=True):
        assert span.stop - span.start == lengths[n]
        used[sequence, span] += 1
    assert used.max() == 1
    assert used.sum() == sum(lengths)
    # Two sequences that would fit into one are one.
    filled = used.sum(1).tolist()
    assert sum(2 * tokens <= max(lengths) for tokens in filled) <= 1
    alone = sequences(lengths, pack=False)
    assert alone == [[n] for n in range(len(lengths))]


def learned(
    model: Trainable, batch: Batch, weights: LossSettings
) -> tuple[dict[str, float], dict[str, Tensor]]:
    torch.manual_seed(0)  # heads alike
    objective = Objective(model, weights, ["a"])
    model.zero_grad()
    losses = objective(model, batch, [Weighted(model.text.full, 1.0)])
    torch.stack(list(losses.values())).sum().backward()
    gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    return {name: loss.item() for name, loss in losses.items()}, gradients


def same(model: Trainable, padded: Batch, packed: Batch, weights: LossSettings) -> None:
    assert packed.row_of is not None
    assert padded.row_of is None
    losses, expected = learned(model, padded, weights)
    others, gradients = learned(model, packed, weights)
    assert others == pytest.approx(losses, rel=1e-5)
    assert set(gradients) == set(expected)
    for name, gradient in gradients.items():
        most = float(expected[name].abs().max())
        torch.testing.assert_close(
            gradient, expected[name], atol=1e-4 * most + 1e-7, rtol=1e-3, msg=name
        )


@settings(max_examples=6)
@given(rows=st.lists(st.tuples(words, words), min_size=2, max_size=6), long=words)
def test_packed_texts_are_learned_from_as_padded_ones(
    trainable: Trainable, rows: list[tuple[list[str], list[str]]], long: list[str]
) -> None:
    collate = Collator(Tokenizer(FOLDER, trainable.config), None, 256, {})  # type: ignore[arg-type]
    # One that is longer than two others, so that there is something to share.
    given_rows = [*rows, ([*rows[0][0], *rows[1][0], *long * 2], [*rows[0][1], *rows[1][1]] * 2)]
    examples = [
        Example(str(n), Kind.text, None, " ".join(asked), " ".join(said))
        for n, (asked, said) in enumerate(given_rows)
    ]
    padded, packed = (replace(collate, pack=pack)(examples, "") for pack in (False, True))
    if packed.row_of is not None:
        assert packed.token_ids.numel() < padded.token_ids.numel()
        same(trainable, padded, packed, LossSettings())


def test_packed_chats_and_media_are_learned_from_as_padded_ones(
    trainable: Trainable, collate: Collator, make_job: Callable[..., TrainJob], tmp_path: Path
) -> None:
    found = read_examples(make_job("unused").train)
    image = str(next(one.path for one in found if one.kind is Kind.image))
    clip = next(one for one in found if one.kind is Kind.audio)
    turns = [{"role": "user", "content": "And then? " * 12}, {"role": "model", "content": "a b"}]
    long = [
        {"messages": turns * 4},
        {
            "image": image,
            "messages": [{"role": "user", "content": "<image>"}, *turns[1:]] + turns * 8,
        },
        {
            "audio": str(clip.path),
            "seconds": clip.seconds,
            "messages": [{"role": "user", "content": "<audio>"}, *turns[1:]] + turns * 8,
        },
    ]
    path = tmp_path / "long.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in long))
    found += read_examples([str(path)])
    every = LossSettings(1.0, 0.3, 0.2, 0.2, 0.1, 0.1)
    plain = replace(collate, augment=False)
    for kind in Kind:
        some = [one for one in found if one.kind is kind][-4:]
        padded, packed = (replace(plain, pack=pack)(some, "") for pack in (False, True))
        assert len(packed.token_ids) < len(padded.token_ids)
        same(trainable, padded, packed, every)


@torch.no_grad()
def test_a_row_s_hidden_states_do_not_depend_on_what_shares_its_sequence(
    trainable: Trainable,
) -> None:
    text = trainable.text
    assert text.config.sliding_window < 20  # both kinds of layers have something to hide
    row, other, third = (torch.randint(5, 500, (length,)) for length in (24, 17, 17))

    def hidden(*rows: Tensor) -> Tensor:
        ids = torch.cat(rows)[None]
        positions = torch.cat([torch.arange(len(one)) for one in rows])[None]
        row_of = torch.cat([torch.full((len(one),), n) for n, one in enumerate(rows)])[None]
        return text(ids, text.embed(ids), positions, row_of=row_of)[0]

    beside, changed = hidden(other, row), hidden(third, row)
    assert torch.equal(beside[17:], changed[17:])
    assert torch.equal(hidden(row, other)[:24], hidden(row, third)[:24])
    torch.testing.assert_close(beside[17:], hidden(row), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(beside[:17], hidden(other), atol=1e-4, rtol=1e-4)
    ids = torch.cat([other, row])[None]
    unseparated = text(ids, text.embed(ids), torch.arange(41)[None])[0]
    assert not torch.allclose(unseparated[17:], beside[17:], atol=1e-2)


def test_masks_are_blocks_of_rows() -> None:
    positions = torch.tensor([[0, 1, 2, 0, 1, -1]])
    row_of = torch.tensor([[0, 0, 0, 1, 1, -1]])
    masks = attention_masks(positions, whole_sequence(positions), 2, row_of)
    full = masks["full_attention"][0, 0].int().tolist()
    assert full[2:5] == [[1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 0, 0], [0, 0, 0, 1, 1, 0]]
    sliding = masks["sliding_attention"][0, 0].int().tolist()
    assert sliding[2:5] == [[0, 1, 1, 0, 0, 0], [0, 0, 0, 1, 0, 0], [0, 0, 0, 1, 1, 0]]


def test_a_cache_has_one_row_a_sequence(trainable: Trainable) -> None:
    text, ids = trainable.text, torch.tensor([[2, 9]])
    cache = KVCache(text.config, 1, torch.float32, torch.device("cpu")).part(range(1), 0, 2)
    with pytest.raises(ValueError, match="row_of came with a cache"):
        text(ids, text.embed(ids), torch.tensor([[0, 0]]), cache, row_of=ids)


def test_a_packed_run_resumes_bit_for_bit_and_has_the_losses_of_a_padded_one(
    make_job: Callable[..., TrainJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.training.loop._LOG_S", 1e9)  # one line, at the end

    def job(name: str, pack: bool, steps: int = 2) -> TrainJob:
        batch = BatchSettings(audio_seconds=0, images=0, texts=3, wrong=0.2, pack=pack)
        one = make_job(name, steps=steps, batch=batch, loss=LossSettings())
        rows = Path(one.train[-1])
        long = {"prompt": "Spell them all. " * 9, "text": "c a t"}
        if long["text"] not in rows.read_text().splitlines()[-1]:
            rows.write_text(rows.read_text() + json.dumps(long) + "\n")
        return one

    packed, padded = job("packed", pack=True), job("padded", pack=False)
    train(packed)
    train(padded)
    lines = [json.loads((Path(one.output) / "log.jsonl").read_text()) for one in (packed, padded)]
    assert lines[0]["text answer"] == pytest.approx(lines[1]["text answer"], rel=1e-4)
    train(job("again", pack=True, steps=1))
    train(job("again", pack=True))
    state = "state/weights.safetensors"
    assert (Path(packed.output) / state).read_bytes() == (
        Path(packed.output).with_name("again") / state
    ).read_bytes()
