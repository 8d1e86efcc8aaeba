"""Two sizes' answers to the same labelled rows -> what a calibration chooses between."""

import json
from collections.abc import Iterable, Iterator

from pipelines.calibrate import Answer, Choice
from pipelines.items import make_item
from pipelines.scored import Scoring, Segments, references_of


def choices_of(
    small: Iterable[Segments], large: Iterable[Segments], scoring: Scoring, metric: str
) -> Iterator[Choice]:
    """One choice an item that both sizes have.

    Args:
        small: segments of each labelled item, as the small size answered them.
        large: as the large one did.
        scoring: of the texts.
        metric: that the calibration goes by.
    """
    by_item = {segments[0]["item"]: segments for segments in large}
    for answered in small:
        again = by_item.get(answered[0]["item"])
        if again is not None:
            yield _choice(answered, again, scoring, metric)


def _choice(small: Segments, large: Segments, scoring: Scoring, metric: str) -> Choice:
    item = make_item(large)
    references = references_of(item["reference"], json.loads(item["extra"] or "{}"))

    def answer(segments: Segments) -> Answer:
        row = scoring.row(references, make_item(segments)["text"] or "")
        part = row["parts"][metric]
        return Answer(part, row["counts"].get(metric, (part.of, part.out_of)))

    better = {row["segment"]: row for row in large}
    asked = [row for row in small if row["logprob"] is not None and row["segment"] in better]
    unsure_first = [row["segment"] for row in sorted(asked, key=lambda row: row["logprob"])]
    mixed, answers = {row["segment"]: row for row in small}, [answer(small)]
    for segment in unsure_first:
        mixed[segment] = better[segment]
        answers.append(answer([mixed[number] for number in sorted(mixed)]))
    return Choice(
        item=small[0]["item"],
        logprobs=sorted(row["logprob"] for row in asked),
        again_tokens=[better[number]["new_tokens"] or 0 for number in unsure_first],
        small_tokens=sum(row["new_tokens"] or 0 for row in small),
        large_tokens=sum(row["new_tokens"] or 0 for row in large),
        answers=answers,
        large=answer(large),
    )
