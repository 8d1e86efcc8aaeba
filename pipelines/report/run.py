"""A run folder -> all that a report tells of it; what is not there is left out, and said."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import yaml

from pipelines.fingerprint import FINGERPRINT
from pipelines.flat import flat
from pipelines.report.embed import Embedded, Embedder
from pipelines.report.found import Found, job_of
from pipelines.report.sources import source_rows
from pipelines.report.survey import Shown, Survey, survey
from pipelines.run import CONFIG, SUMMARY
from pipelines.settings import ReportJob
from pipelines.timeline import TIMELINE


@dataclass
class Run:
    """One run."""

    folder: Path
    name: str  # where in what was given
    job: str
    settings: dict[str, Any]  # by dotted key
    fingerprint: dict[str, Any]
    summary: dict[str, Any]  # empty while it has not ended
    timeline: dict[str, Any]  # empty for a run of before there was one
    survey: Survey
    embedded: dict[int, list[Embedded | str]] = field(default_factory=dict)  # by `id` of the row
    notices: list[str] = field(default_factory=list)
    number: int = 1  # in the report
    label: str = ""

    @property
    def has_ended(self) -> bool:
        """Whether it came to its end, rather than being ended or still going on."""
        return bool(self.summary) and not self.summary.get("interrupted")

    @property
    def began(self) -> str:
        """Day and time, as the machine's clock had it; empty where nobody noted it."""
        try:
            when = datetime.fromisoformat(str(self.timeline.get("began")))
        except ValueError:
            return ""
        return when.astimezone(timezone.utc).strftime("%-d %B %Y, %H:%M UTC")

    def media_of(self, row: Shown) -> list[Embedded | str]:
        """The clips and pictures of a row, or why there is none."""
        return self.embedded.get(id(row), [])


def read_run(found: Found, job: ReportJob, embedder: Embedder) -> Run:
    """Gather a run.

    Args:
        found: its folder.
        job: which rows to show.
        embedder: of the media of those.
    """
    notices: list[str] = []
    name = job_of(found.folder)
    rows = survey(found.folder, name, job.worst, job.random, job.seed)
    raw = _yaml(found.folder / CONFIG, notices)
    run = Run(
        folder=found.folder,
        name=found.name,
        job=name,
        settings=flat(raw),
        fingerprint=_json(found.folder / FINGERPRINT, notices),
        summary=_json(found.folder / SUMMARY, notices),
        timeline=_json(found.folder / TIMELINE, notices),
        survey=rows,
        notices=notices,
    )
    _tell_what_is_missing(run)
    shown = [*rows.worst, *rows.random]
    listed = source_rows(raw, {row.item for row in shown}) if embedder.is_on and shown else {}
    run.embedded = {id(row): embedder.of(row, listed.get(row.item)) for row in shown}
    return run


def _tell_what_is_missing(run: Run) -> None:
    rows = run.survey
    if not run.has_ended:
        run.notices.append(
            f"This run has not come to its end: {rows.items:,} items are committed. It may be "
            "going on, or it was ended; the same command goes on with it. Times are up to the "
            "last note that it took."
        )
    elif earlier := run.summary.get("earlier"):
        run.notices.append(
            f"{earlier:,} of the items were done by earlier runs in this folder. Rows, quality and "
            "errors are of all; times and speeds are of the last run alone."
        )
    if lost := run.summary.get("lost"):
        run.notices.append(f"{lost:,} items of the source are not done; the same command does them")
    if rows.incomplete:
        run.notices.append(
            f"{rows.incomplete:,} items are incomplete, and left out until their last segments are "
            "there."
        )
    if rows.unscored:
        run.notices.append(
            f"{rows.unscored:,} rows have a reference and are not scored: word errors are counted "
            "with jiwer, which is not installed. Install gemma3n-pipelines[eval]."
        )
    run.notices += [f"A part of the results could not be used. {why}" for why in rows.unreadable]


def _json(path: Path, notices: list[str]) -> dict[str, Any]:
    """A JSON object, empty where there is none."""
    if not path.exists():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        notices.append(f"{path.name} cannot be read and is passed over: {error}.")
        return {}
    return value if isinstance(value, dict) else {}


def _yaml(path: Path, notices: list[str]) -> dict[str, Any]:
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        why = str(error).partition("\n")[0]
        notices.append(f"{path.name} cannot be read, so settings are missing: {why}.")
        return {}
    return dict(value) if isinstance(value, Mapping) else {}
