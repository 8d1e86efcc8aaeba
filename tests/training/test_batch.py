import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gemma3n import SettingsError
from gemma3n.config import Config
from gemma3n.losses.ctc import letters
from pipelines.settings import TrainJob
from pipelines.training.batch import Collator
from pipelines.training.examples import Example, Kind, fitting, read_examples
from pipelines.training.pieces import Resplit


@pytest.fixture
def examples(make_job: Callable[..., TrainJob]) -> dict[Kind, list[Example]]:
    found = read_examples(make_job("unused").train)
    return {kind: [example for example in found if example.kind is kind] for kind in Kind}


def test_a_row_is_its_chat_prompt_and_the_answer_with_its_closing_token(
    collate: Collator, examples: dict[Kind, list[Example]]
) -> None:
    batch = collate(examples[Kind.text], "")
    for row, example in enumerate(examples[Kind.text]):
        said = batch.token_ids[row][batch.answers[row]].tolist()
        assert collate.tokenizer.decode(said) == example.answer
        assert said[-1] == collate.tokenizer.stop_ids[-1]
        asked = batch.token_ids[row][(batch.positions[row] >= 0) & ~batch.answers[row]].tolist()
        assert str(example.prompt) in collate.tokenizer.decode(asked)
        real = batch.positions[row][batch.positions[row] >= 0]
        assert real.tolist() == list(range(len(real)))


def test_a_clip_s_tokens_know_how_many_letters_are_said_with_them(
    collate: Collator, examples: dict[Kind, list[Example]]
) -> None:
    batch = collate(examples[Kind.audio], "")
    for row, example in enumerate(examples[Kind.audio]):
        said = batch.spelt[row][batch.answers[row]].tolist()
        assert said == sorted(said)
        assert said[-1] == len(letters(example.answer))
        assert not batch.spelt[row][~batch.answers[row]].any()


def test_media_get_the_prompt_of_their_kind_and_their_places(
    collate: Collator, examples: dict[Kind, list[Example]]
) -> None:
    clips, images = collate(examples[Kind.audio], ""), collate(examples[Kind.image], "")
    assert ((clips.token_ids == 529).sum(1) == 188).all()
    assert ((images.token_ids == 513).sum(1) == 256).all()
    assert clips.mels is not None
    assert clips.lengths is not None
    assert clips.mels.shape[1] == clips.lengths.max()
    assert images.pixels is not None
    assert images.pixels.shape[1:] == (3, 256, 256)
    assert images.pixels.max() <= 1


CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]},
    {"role": "assistant", "content": "a cat"},
    {"role": "user", "content": "<end_of_turn> And its colour?"},
    {"role": "assistant", "content": "model\nred"},
]


def _rows(tmp_path: Path, *rows: dict[str, object]) -> list[Example]:
    path = tmp_path / "chats.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_examples([str(path)])


def test_of_a_chat_all_that_the_model_says_is_learned_and_nothing_else(
    collate: Collator, tmp_path: Path
) -> None:
    image = str(Path("tests/samples/images/digit-1300.png").absolute())
    (chat,) = _rows(tmp_path, {"image": image, "messages": CHAT})
    batch = collate([chat], "")
    assert (batch.kind, batch.texts) == (Kind.image, ["model\nred"])
    ids, said = batch.token_ids[0], batch.answers[0]
    tokenizer = collate.tokenizer
    end = tokenizer.stop_ids[-1]
    first, second, rest = "".join(
        "\0" if token == end else tokenizer.decode([token]) for token in ids[said].tolist()
    ).split("\0")
    assert (first, second, rest) == ("a cat", "model\nred", "")
    whole = tokenizer.chat_ids(list(chat.chat), open_model_turn=False)
    assert ids.tolist() == whole[: len(ids)]
    assert int((ids == 513).sum()) == 256


def test_a_chat_may_have_its_answer_beside_it(collate: Collator, tmp_path: Path) -> None:
    beside, within, plain = _rows(
        tmp_path,
        {"messages": CHAT[3:4], "text": "red"},
        {"messages": [*CHAT[3:4], {"role": "model", "content": "red"}]},
        {"prompt": "<end_of_turn> And its colour?", "text": "red"},
    )
    batch = collate([beside, within, plain], "")
    for tensor in (batch.token_ids, batch.answers, batch.positions):
        assert torch.equal(tensor[0], tensor[1])
        assert torch.equal(tensor[0], tensor[2])


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"messages": CHAT[:2], "image": "a.png"}, "does not end with what the model should say"),
        ({"messages": CHAT}, "has 1 <image>, but the row has 0 of"),
        ({"messages": [{"role": "robot", "content": "x"}], "text": "y"}, "has no role of user"),
    ],
)
def test_a_chat_that_cannot_be_learned_from_names_its_row(
    tmp_path: Path, row: dict[str, object], why: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        _rows(tmp_path, {"id": "seventh", **row})
    assert "seventh" in str(refused.value)
    assert why in str(refused.value)


def test_images_are_reduced_to_the_side_asked_for(
    collate: Collator, examples: dict[Kind, list[Example]]
) -> None:
    whole = replace(collate, augment=False)(examples[Kind.image], "").pixels
    small = replace(collate, augment=False, image_side=128)(examples[Kind.image], "").pixels
    assert whole is not None
    assert small is not None
    assert torch.allclose(small, torch.nn.functional.avg_pool2d(whole, 2), atol=1e-6)


def test_an_answer_may_be_said_in_smaller_pieces(
    collate: Collator, examples: dict[Kind, list[Example]]
) -> None:
    resplit = Resplit(collate.tokenizer, 0.5)
    plain, batch = (
        one(examples[Kind.audio], "") for one in (collate, replace(collate, resplit=resplit))
    )
    assert batch.answers.sum() > plain.answers.sum()
    for row, example in enumerate(examples[Kind.audio]):
        said = batch.token_ids[row][batch.answers[row]].tolist()
        assert collate.tokenizer.decode(said) == example.answer
        assert batch.spelt[row].max() == len(letters(example.answer))


def test_augmentation_depends_on_salt_and_row_alone(
    collate: Collator, examples: dict[Kind, list[Example]]
) -> None:
    for kind in (Kind.audio, Kind.image):
        some = examples[kind][:2]
        one, again, other = collate(some, "7"), collate(some, "7"), collate(some, "8")
        for found, same, changed in (
            (one.mels, again.mels, other.mels),
            (one.pixels, again.pixels, other.pixels),
        ):
            if found is not None and same is not None and changed is not None:
                assert torch.equal(found, same)
                assert found.shape != changed.shape or not torch.equal(found, changed)


def test_clips_that_a_prompt_has_no_places_for_are_left_out(
    examples: dict[Kind, list[Example]], checkpoint_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = Config.from_folder(checkpoint_folder)
    config.audio_soft_tokens_per_image = 10  # 1.6 s
    kept = fitting(examples[Kind.audio], config)
    assert kept
    assert max(example.seconds for example in kept) <= 1.6
    assert f"{len(examples[Kind.audio]) - len(kept)} clips of more than 1.6 s" in caplog.text
    slower = fitting(examples[Kind.audio], config, slowest=0.5)
    assert [e for e in kept if e.seconds < 0.79] == slower != kept


def test_manifests_that_cannot_be_learned_from_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    for line, message in (
        ({"prompt": "hi"}, "one example has an answer"),
        ({"audio": ["a.wav", "b.wav"], "text": "two"}, "has 2 clips"),
        ({"text": "no question"}, "cannot be learned from: .* nothing to work on"),
        ({"audio": "a.wav", "text": "a", "seconds": "long"}, "has seconds 'long'; it is a number"),
        ({"audio": "a.wav", "text": "a", "duration": -1}, "has seconds -1"),
        ({"audio": "a.wav", "text": "a", "weight": True}, "has weight True"),
        ({"audio": "a.wav", "text": "a", "phones": "AH:2 XX:3"}, "phones of CMUdict"),
        ({"audio": "a.wav", "text": "a", "phones": ["AH"]}, "phones of CMUdict"),
    ):
        path.write_text(json.dumps(line))
        with pytest.raises(SettingsError, match=message):
            read_examples([str(path)])
    path.write_text("")
    with pytest.raises(SettingsError, match="the manifests hold no line"):
        read_examples([str(path)])
    with pytest.raises(SettingsError, match=r"manifest 'absent\.jsonl' does not exist"):
        read_examples(["absent.jsonl"])


def test_a_share_of_the_answer_is_shown_wrong(
    collate: Collator, examples: dict[Kind, list[Example]]
) -> None:
    rows = [replace(e, answer="one two three four five six") for e in examples[Kind.text]] * 10
    batch = replace(collate, wrong=0.3)(rows, "7")
    differ = batch.shown != batch.token_ids
    assert not differ[~batch.answers].any()
    assert 0.1 < differ[batch.answers].float().mean() < 0.4
    plain = collate(rows, "7")
    assert torch.equal(plain.shown, plain.token_ids)
