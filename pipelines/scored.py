"""Results of a run beside their references -> rows with all that scores are made of."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.committed import Committed, Moved, part_files
from pipelines.intervals import Part
from pipelines.items import make_item
from pipelines.normalisers import Normalise
from pipelines.scores import row_parts
from pipelines.translation_scores import TranslationScores
from stages.entry import LANGUAGE, REFERENCES

ALL = "all rows"  # the set of all sets
_NO_SET = "(no set)"


@dataclass(frozen=True)
class Scored:
    """One labelled row at one nested size; `rows.jsonl` holds these, a line each."""

    item: str
    set: str
    size: str
    reference: str  # the first of them
    text: str  # nothing, if the row failed
    failed: bool
    parts: Mapping[str, Part]  # by score; of BLEU and chrF what the row scores by itself
    references: Sequence[str] = ()  # all, where there are several
    language: str | None = None  # as its manifest spells it
    audio_s: float | None = None  # seconds of its clips, pauses left out; None without any
    new_tokens: int = 0
    logprob: float | None = None  # mean natural-log probability of the new tokens
    # What the row adds to scores that pool over a set, by score: see `translation_scores`.
    counts: Mapping[str, Sequence[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Scoring:
    """How texts and references are compared."""

    normalise: Normalise
    translation: TranslationScores | None = None

    def row(self, references: Sequence[str], text: str) -> dict[str, Any]:
        """`parts` and `counts` of a row."""
        parts, counts = row_parts(references, text, self.normalise), {}
        if self.translation is not None:
            counts = self.translation.counts(references, text)
            parts |= self.translation.parts(counts)
        return {"parts": parts, "counts": counts}


Segments = list[dict[str, Any]]  # of one item, as `part_schema` has them


def labelled(run: Path, listed: Iterable[Moved] | None = None) -> Iterator[Segments]:
    """The segments of each item of a run folder that has a reference.

    Args:
        run: the folder.
        listed: how the source lists its items by now; others do not count. None: all that are
            there do.
    """
    moved = None if listed is None else list(listed)
    wanted = None if moved is None else {one.item for one in moved}
    with closing(Committed(part_files(run), moved or ())) as committed:
        for rows in committed.items():
            is_wanted = wanted is None or rows[0]["item"] in wanted
            if is_wanted and rows[0]["reference"] is not None:
                yield rows


def scored_rows(items: Iterable[Segments], size: str, scoring: Scoring) -> Iterator[Scored]:
    """Labelled items, scored; a failed one said nothing."""
    for segments in items:
        item = make_item(segments)
        extra = json.loads(item["extra"] or "{}")
        references, text = references_of(item["reference"], extra), item["text"] or ""
        language = next((extra[key] for key in LANGUAGE if extra.get(key)), None)
        tokens = sum(row["new_tokens"] or 0 for row in segments)
        yield Scored(
            item=item["item"],
            set=str(extra.get("set") or _NO_SET),
            size=size,
            reference=references[0],
            text=text,
            failed=item["error"] is not None,
            references=references[1:] and references,
            language=None if language is None else str(language),
            audio_s=sum(row["audio_s"] or 0.0 for row in segments) or None,
            new_tokens=tokens,
            logprob=_mean_logprob(segments),
            **scoring.row(references, text),
        )


def references_of(reference: str, extra: Mapping[str, Any]) -> list[str]:
    """All references of a row: the one it has, and others that its manifest gave with it."""
    others = extra.get(REFERENCES)
    more = [text for text in others if isinstance(text, str)] if isinstance(others, list) else []
    return list(dict.fromkeys([reference, *more]))


def _mean_logprob(segments: Segments) -> float | None:
    pairs = [
        (row["logprob"], row["new_tokens"])
        for row in segments
        if row["logprob"] is not None and row["new_tokens"]
    ]
    tokens = sum(count for _, count in pairs)
    return sum(logprob * count for logprob, count in pairs) / tokens if tokens else None


def unlabelled(run: Path) -> dict[str, int]:
    """How many items of a run have no reference, and how many of those failed."""
    rows = failed = 0
    with closing(Committed(part_files(run))) as committed:
        for segments in committed.items():
            if segments[0]["reference"] is None:
                rows += 1
                failed += any(row["error_stage"] is not None for row in segments)
    return {"rows": rows, "failed": failed}


def worst_first(rows: Sequence[Scored]) -> list[Scored]:
    """By errors in words, then in characters."""

    def badness(row: Scored) -> tuple[float, float]:
        return -row.parts["wer"].of, -row.parts["cer"].of

    return sorted(rows, key=badness)
