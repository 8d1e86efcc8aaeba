import sys

import numpy as np
import pytest

from gemma3n.errors import SettingsError
from pipelines.translation_scores import TranslationScores

SAID = ["The cat is on the mat.", "It rains a lot today", "", "Hello there, world!"]
RIGHT = [
    ["The cat sat on the mat.", "There is a cat on the mat."],
    ["It is raining a lot today.", "It rains much today."],
    ["Nothing was said.", "Not a word."],
    ["Hello, world!", "Hello there, world!"],
]


@pytest.mark.parametrize("name", ["bleu", "chrf"])
def test_a_set_scores_what_sacrebleu_says_of_it(name: str) -> None:
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    scores = TranslationScores("English")
    counts = np.array(
        [scores.counts(right, said)[name] for right, said in zip(RIGHT, SAID, strict=True)]
    )
    streams = [list(stream) for stream in zip(*RIGHT, strict=True)]
    counter = BLEU() if name == "bleu" else CHRF()
    whole = counter.corpus_score(SAID, streams).score
    assert 0.1 < whole / 100 < 0.95
    assert float(scores.metrics[name].of_sums(counts.sum(0))) == pytest.approx(whole / 100)
    assert "nrefs:2" in scores.signatures[name]
    many = scores.metrics[name].of_sums(np.stack([counts.sum(0), counts[0]]))
    assert many.shape == (2,)
    assert many[0] == pytest.approx(whole / 100)


def test_a_short_row_by_itself_may_be_right() -> None:
    scores = TranslationScores("English")
    parts = scores.parts(scores.counts(["Good day."], "Good day."))
    assert parts["bleu"].of == pytest.approx(1)
    assert parts["chrf"].of == pytest.approx(1)
    nothing = scores.parts(scores.counts(["Good day."], ""))
    assert nothing["bleu"].of == nothing["chrf"].of == 0


def test_languages_without_spaces_are_cut_into_characters() -> None:
    right, said = "\u4eca\u5929\u4e0b\u96e8\u4e86", "\u4eca\u5929\u4e0b\u96ea\u4e86"
    chinese, other = TranslationScores("zh"), TranslationScores("en")
    assert chinese.parts(chinese.counts([right], said))["bleu"].of > 0
    assert other.parts(other.counts([right], said))["bleu"].of == 0
    assert "tok:zh" in chinese.signatures["bleu"]


def test_without_sacrebleu_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics.bleu", None)
    with pytest.raises(SettingsError, match=r"Install gemma3n-pipelines\[eval\]"):
        TranslationScores("English")
