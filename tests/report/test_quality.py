from typing import Any

from pipelines.report.quality import F1, WER, Quality, metric_of


def item(name: str, reference: str, text: str, extra: str | None = None) -> dict[str, Any]:
    return {"item": name, "reference": reference, "text": text, "extra": extra}


def test_rows_are_grouped_by_set_and_by_the_length_of_their_sound() -> None:
    quality = Quality(WER)
    quality.add(item("a", "one two", "one two", '{"set": "clean"}'), 1.0)
    quality.add(item("b", "one two", "one", '{"set": "noisy"}'), 1.9)
    quality.add(item("c", "one two", "", '{"set": "noisy"}'), 2.0)
    quality.add(item("d", "one", "one", "no JSON"), 1000.0)
    sets = [(one.name, one.rows, one.score.value) for one in quality.by_set()]
    assert sets == [("clean", 1, 0.0), ("noisy", 2, 0.75)]
    lengths = [(one.name, one.rows, one.score.value) for one in quality.by_length()]
    assert lengths == [("0–2 s", 2, 0.25), ("2–5 s", 1, 1.0), ("300 s or more", 1, 0.0)]  # noqa: RUF001


def test_what_has_no_sound_is_grouped_by_the_words_of_its_reference() -> None:
    quality = Quality(F1)
    quality.add(item("a", "a cow", "a cow"), 0.0)
    quality.add(item("b", "a red apple", "a red apple"), 0.0)
    assert [one.name for one in quality.by_length()] == ["1–2 words", "3–5 words"]  # noqa: RUF001


def test_runs_are_compared_on_the_same_rows_only() -> None:
    first, second, third = Quality(WER), Quality(WER), Quality(WER)
    for quality, said in ((first, "one two"), (second, "one")):
        quality.add(item("a", "one two", said), 1.0)
    third.add(item("b", "one two", "one"), 1.0)
    difference = second.over(first)
    assert difference is not None
    assert difference.value == 0.5
    assert third.over(first) is None


def test_words_count_where_somebody_speaks() -> None:
    assert [metric_of(job) for job in ("transcribe", "translate", "caption")] == [WER, WER, F1]
