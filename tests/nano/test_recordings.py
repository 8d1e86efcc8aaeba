from itertools import pairwise

import numpy as np
import pytest

pytest.importorskip("av", reason="needs the nano extra")
pytest.importorskip("pocketsphinx", reason="needs the nano extra")

from pipelines.nano import recordings
from pipelines.nano.align import Alignment, Span
from pipelines.nano.clips import RATE, Pcm
from pipelines.nano.split import Split, prompts, sentence


def _wave(seconds: float) -> Pcm:
    return np.random.default_rng(1).integers(-9000, 9000, round(seconds * RATE)).astype(np.int16)


@pytest.fixture
def waves() -> dict[str, Pcm]:
    keys = [key for key, (side, _) in prompts().items() if side is Split.train]
    return {key: _wave(0.4 * len(prompts()[key][1].split())) for key in keys}


class _EvenAligner:
    """Gives every word of a prompt the same time."""

    def __call__(self, pcm: Pcm, text: str) -> Alignment:
        words = text.split()
        edges = np.linspace(0, len(pcm) / RATE, len(words) + 1)
        return Alignment([Span(w, *e) for w, e in zip(words, pairwise(edges), strict=True)], [])


@pytest.mark.parametrize("side", [Split.train, Split.dev])
def test_digit_strings_are_of_their_side_and_never_twice_the_same(
    side: Split, waves: dict[str, Pcm]
) -> None:
    clips = list(recordings.digit_strings(waves, side, 60, "digits"))
    texts = [clip.text for clip in clips]
    assert len(set(texts)) == 60
    assert {sentence(text) for text in texts} == {side}
    assert all(2 <= len(text.split()) <= 8 for text in texts)


def test_digit_strings_are_the_same_every_time(waves: dict[str, Pcm]) -> None:
    first, again = (list(recordings.digit_strings(waves, Split.dev, 5, "x")) for _ in range(2))
    for one, other in zip(first, again, strict=True):
        assert one.text == other.text
        np.testing.assert_array_equal(one.pcm, other.pcm)


def test_letter_strings_are_made_of_what_she_said(waves: dict[str, Pcm]) -> None:
    words = {word for key in waves for word in prompts()[key][1].split()}
    for clip in recordings.letter_strings(waves, 40, "letters"):
        assert set(clip.text.split()) <= words
        assert sentence(clip.text) is Split.train


def test_recombined_prompts_are_new_and_say_nothing_that_is_kept_back(
    waves: dict[str, Pcm], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recordings, "Aligner", _EvenAligner)
    clips = list(recordings.recombined(waves, 50, "new"))
    known = {text for _, text in prompts().values()}
    assert len({clip.text for clip in clips}) == 50
    for clip in clips:
        assert clip.text not in known
        assert sentence(clip.text) is Split.train
        # 0.4 s a word, as in the prompts they were cut from; gaps and margins aside.
        assert len(clip.pcm) / RATE == pytest.approx(0.4 * len(clip.text.split()), abs=0.7)
