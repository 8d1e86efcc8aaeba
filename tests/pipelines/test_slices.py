from typing import Any

import pytest

from pipelines.scored import Scored
from pipelines.slices import slices_of


def row(reference: str = "a b", **more: Any) -> Scored:
    return Scored("i", "s", "full", reference, "", False, {}, **more)


def test_rows_are_sliced_by_language_however_it_is_spelt() -> None:
    rows = [row(language=name) for name in ("fr", "French", "de-AT", "Klingon")] + [row()]
    found = slices_of(rows)["language"]
    assert {name: len(some) for name, some in found.items()} == {
        "French": 2,
        "German": 1,
        "Klingon": 1,
    }


@pytest.mark.parametrize(
    ("seconds", "name"), [(0.5, "0-2 s"), (2.0, "2-5 s"), (29.99, "10-30 s"), (600, "60+ s")]
)
def test_a_bucket_of_seconds_begins_where_it_says(seconds: float, name: str) -> None:
    found = slices_of([row(audio_s=seconds), row(audio_s=7)])["audio_s"]
    assert name in found
    assert list(found) == sorted(found, key=lambda slice: float(slice.split("-")[0].split("+")[0]))


def test_references_are_sliced_by_their_words() -> None:
    texts = ["...", "one.", "one two", "one two three", " ".join(["w"] * 51)]
    found = slices_of([row(text) for text in texts])["reference_words"]
    assert list(found) == ["0 words", "1-2 words", "3-5 words", "51+ words"]
    assert len(found["1-2 words"]) == 2


def test_what_would_be_one_slice_is_none() -> None:
    assert slices_of([row(language="fr"), row(language="fr", reference="c d")]) == {}
