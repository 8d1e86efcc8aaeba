"""Runs -> the page, which nothing in it can leave: escaped, without scripts, without addresses."""

from collections.abc import Sequence
from datetime import datetime, timezone
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gemma3n.errors import SettingsError
from pipelines.report import wording as say
from pipelines.report.article import article_tables, measured_on
from pipelines.report.embed import Embedder
from pipelines.report.evaluation import find_evaluations
from pipelines.report.group import Group, group_of
from pipelines.report.run import Run
from pipelines.report.sweep import unfinished_runs
from pipelines.report.view import RunView, view_of
from pipelines.settings import ReportJob

if TYPE_CHECKING:
    from jinja2 import Environment

_DETAILED = 24  # runs that have a part of their own
TEMPLATES = "templates"


@lru_cache(maxsize=1)
def environment() -> "Environment":
    """The templates: every value that they show is made visible, then escaped.

    Raises:
        SettingsError: jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, FunctionLoader, StrictUndefined
        from markupsafe import Markup
    except ImportError as error:
        raise SettingsError(
            "report draws its page with jinja2, which is not installed. "
            "Install gemma3n-pipelines[report]."
        ) from error

    def shown(value: Any) -> Any:
        return (
            say.plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value
        )

    made = Environment(
        loader=FunctionLoader(_template),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["css"] = Markup(_template("style.css"))
    made.filters["percent"] = lambda value: f"{value:.2f}%"
    return made


def _template(name: str) -> str:
    return (files(__package__) / TEMPLATES / name).read_text(encoding="utf-8")


def page(runs: Sequence[Run], job: ReportJob, embedder: Embedder) -> str:
    """The whole page.

    Args:
        runs: in their order; those of a job are compared with each other.
        job: how it was asked for.
        embedder: that has done its work, for what the page says of it.
    """
    views = [view_of(run) for run in runs]
    groups = _groups(views)
    shown = views[:_DETAILED]
    return (
        environment()
        .get_template("page.html")
        .render(
            title=job.title or _title(runs),
            views=shown,
            more=len(views) - len(shown),
            runs=len(views),
            groups=groups,
            evaluations=find_evaluations(job.source.path),
            article=article_tables(runs, [one.numbers for one in views]) if job.article else [],
            measured_on=measured_on(runs),
            unfinished=unfinished_runs(job.source.path),
            made=datetime.now(timezone.utc).strftime("%-d %B %Y, %H:%M UTC"),
            embed=job.embed,
            embedder=embedder,
            embedded_size=say.size(embedder.used_bytes),
        )
    )


def _groups(views: Sequence[RunView]) -> list[Group]:
    by_job: dict[str, list[RunView]] = {}
    for view in views:
        by_job.setdefault(view.run.job, []).append(view)
    return [
        group_of(name, [one.run for one in some], [one.numbers for one in some])
        for name, some in by_job.items()
        if len(some) > 1
    ]


def _title(runs: Sequence[Run]) -> str:
    jobs = " and ".join(dict.fromkeys(run.job for run in runs))
    sources = dict.fromkeys(_source(run) for run in runs)
    of = f": {next(iter(sources))}" if len(sources) == 1 and any(sources) else ""
    return say.cut(f"{jobs}{of}", 120) or "evaluate"


def _source(run: Run) -> str:
    paths = run.settings.get("source.path")
    names = [Path(str(path)).name for path in paths] if isinstance(paths, list) else []
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0]}{more}" if names else ""
