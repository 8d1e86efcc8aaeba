import numpy as np
import pytest

pytest.importorskip("pocketsphinx", reason="needs the nano extra")

from pipelines.nano.align import Aligner, Alignment, Span


def _alignment() -> Alignment:
    phones = [
        Span("SIL", 0.0, 0.1),
        Span("T", 0.1, 0.13),
        Span("UW", 0.13, 0.26),
        Span("UW", 0.26, 0.34),
        Span("SIL", 0.34, 0.4),
    ]
    return Alignment([Span("two", 0.1, 0.34)], phones)


def test_labels_are_runs_of_40_ms_frames_named_after_the_phone_at_their_middle() -> None:
    # Middles: 20, 60, 100 ... ms. T starts at 100 ms.
    assert _alignment().labels(6400) == "SIL:2 T:1 UW:5 SIL:2"


@pytest.mark.parametrize("samples", [1, 639, 640, 641, 6400, 9000])
def test_labels_cover_the_whole_clip(samples: int) -> None:
    runs = _alignment().labels(samples).split()
    assert sum(int(run.split(":")[1]) for run in runs) == -(-samples // 640)


def test_a_word_that_no_dictionary_has_is_not_aligned() -> None:
    assert Aligner()(np.zeros(16000, np.int16), "zzyzzyx") is None


def test_the_recipe_s_own_words_are_known() -> None:
    decoder = Aligner().decoder
    assert decoder.lookup_word("unmute") == "AH N M Y UW T"
