import sys

import pytest

from gemma3n.errors import SettingsError
from pipelines import normalisers
from pipelines.normalisers import normalised, normaliser
from pipelines.settings import Normaliser


def test_case_and_punctuation_do_not_count_but_apostrophes_do() -> None:
    assert normalised("It's Raining,  she said!") == "it's raining she said"


def test_accents_marks_and_apostrophes_count_the_same_however_they_were_typed() -> None:
    assert normalised("Cafe\u0301") == normalised("caf\u00e9") == "caf\u00e9"
    assert normalised("it\u2019s") == "it's"
    assert normalised("\u0939\u093f\u0928\u094d\u0926\u0940!") == (
        "\u0939\u093f\u0928\u094d\u0926\u0940"
    )


def test_of_none_everything_counts_but_the_number_of_spaces() -> None:
    assert normaliser(Normaliser.none)("It's\n Raining, ") == "It's Raining,"


def test_whispers_knows_numbers_contractions_and_spellings() -> None:
    english = normaliser(Normaliser.english)
    assert english("I won't pay twenty-one dollars.") == english("i will not pay $21")
    assert english("colour") == english("color")
    assert english("[music]") == ""


def test_without_its_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "whisper_normalizer.english", None)
    normalisers._english.cache_clear()
    with pytest.raises(SettingsError, match=r"Install gemma3n-pipelines\[eval\]"):
        normaliser(Normaliser.english)
