import itertools
import zlib

import pytest

from pipelines.nano.split import (
    Split,
    digit_row,
    game_clip,
    icon_style,
    is_dev_sentence,
    prompt,
    prompts,
    sentence,
    voice,
)


def test_a_prompt_trains_only_where_the_list_says_so() -> None:
    assert prompt("digits/0") is Split.train
    assert prompt("vm-nomore") is Split.dev
    assert prompt("a-prompt-that-no-list-has") is Split.reserved


def test_no_training_prompt_says_what_a_development_prompt_says() -> None:
    train = {text for side, text in prompts().values() if side is Split.train}
    dev = {text for side, text in prompts().values() if side is Split.dev}
    assert train
    assert dev
    assert not train & dev


def test_what_a_development_prompt_or_a_sample_says_trains_in_no_voice() -> None:
    for side, text in prompts().values():
        if side is Split.dev:
            assert is_dev_sentence(text)
            assert sentence(text) is Split.dev
    assert sentence("ten of clubs") is Split.dev
    assert sentence("two nine three four") is Split.dev


def test_single_words_always_train() -> None:
    assert not is_dev_sentence("three")
    assert {sentence(word) for word in ("zero", "three", "nine", "stop", "red")} == {Split.train}


def test_a_sixteenth_of_what_is_made_up_is_for_development() -> None:
    made = [f"{a} {b} of spades" for a, b in itertools.product("abcdefghijklmnopqrst", repeat=2)]
    dev = [text for text in made if sentence(text) is Split.dev]
    assert len(made) / 32 < len(dev) < len(made) / 8


def test_game_clips_are_reserved_by_the_checksum_of_their_name() -> None:
    for name in (f"JOE{number:04d}1" for number in range(200)):
        reserved = zlib.crc32(name.encode()) % 20 == 7
        assert (game_clip(name) is Split.reserved) is reserved
        assert game_clip(name.lower()) is game_clip(name)


def test_a_twentieth_of_game_clips_is_reserved() -> None:
    reserved = sum(game_clip(f"JOE{n:04d}1") is Split.reserved for n in range(2000))
    assert 60 < reserved < 140


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("noto", Split.train),
        ("@iconify-json/twemoji", Split.train),
        ("emojione", Split.dev),
        ("EmojiOne_v1", Split.dev),
        ("@iconify-json/emojione-monotone", Split.dev),
        ("joypixels", Split.dev),
        ("fluent-emoji-flat", Split.reserved),
        ("@iconify-json/fluent-emoji", Split.reserved),
        ("fluent-color", Split.reserved),
    ],
)
def test_icon_styles_are_split_by_their_name(name: str, side: Split) -> None:
    assert icon_style(name) is side


def test_digit_rows_are_split_at_1300_and_1400() -> None:
    rows = (0, 1299, 1300, 1399, 1400, 1796)
    assert [digit_row(row).value for row in rows] == [
        *("train", "train", "dev", "dev", "reserved", "reserved"),
    ]


def test_a_held_out_voice_is_held_out_in_every_accent() -> None:
    assert voice("espeak/en-us+f2") is voice("espeak/en-gb+f2") is Split.dev
    assert voice("espeak/en-us+f3") is Split.train
    assert voice("flite/kal") is voice("flite/kal16") is voice("flite/rms") is Split.dev
    assert voice("flite/slt") is Split.train


def test_a_tenth_of_the_blended_voices_is_held_out() -> None:
    held_out = sum(voice(f"kokoro/{number:04d}") is Split.dev for number in range(500))
    assert 25 < held_out < 80
