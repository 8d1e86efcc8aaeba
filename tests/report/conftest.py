"""Run folders as runs leave them, without a model: what a report is made of can be set by hand."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.report.embed import Embedder
from pipelines.report.found import Found
from pipelines.report.page import page
from pipelines.report.run import Run, read_run
from pipelines.run import CONFIG, SUMMARY
from pipelines.settings import EmbedSettings, ReportJob
from pipelines.timeline import TIMELINE
from stages.model import Load
from stages.write import SinkSettings, Write

PATH = ["read", "mel", "encode", "fuse", "decode", "write"]


@pytest.fixture
def result() -> Callable[..., dict[str, Any]]:
    """Makes a row as `write` gets it: one segment of one second; without a text it failed."""

    def make(item: str, text: str | None = "seven", **more: Any) -> dict[str, Any]:
        row: dict[str, Any] = {
            "item": item,
            "segment": 0,
            "last": True,
            "image_paths": [],
            "start_s": 0.0,
            "end_s": 1.0,
            "audio_s": 1.0,
            "new_tokens": 2,
            "logprob": -0.5,
            "size": "full",
            "error": None,
        }
        if text is None:
            message = f"'{item}' is empty, 0 bytes. Copy it anew."
            row["error"] = {"stage": "read", "message": message}
        else:
            row["text"] = text
        return row | more

    return make


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Writes a run folder."""

    def make(
        rows: Sequence[Mapping[str, Any]],
        name: str = "run",
        job: str = "transcribe",
        settings: Mapping[str, Any] | None = None,
        summary: Mapping[str, Any] | None = None,
        timeline: Mapping[str, Any] | None = None,
        has_ended: bool = True,
    ) -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        base = {"job": job, "path": PATH, "source": {"path": [str(tmp_path / "gone")]}}
        config = yaml.safe_dump(base | dict(settings or {}), sort_keys=False)
        (folder / CONFIG).write_text(f"# gemma3n {job}: so\n{config}", encoding="utf-8")
        written: Any = [{**row, "place": place} for place, row in enumerate(rows)]
        Write(SinkSettings(), Load("nowhere"), folder)(written)
        if has_ended:
            done = {"items": len(rows), "rows": len(rows), "seconds": 4.0, "new_tokens": 8}
            (folder / SUMMARY).write_text(json.dumps(done | dict(summary or {})))
        if timeline is not None:
            (folder / TIMELINE).write_text(json.dumps(timeline))
        return folder

    return make


def _job(folders: Sequence[Path], more: Mapping[str, Any]) -> ReportJob:
    """Nothing is embedded unless asked for."""
    job = ReportJob(**{"embed": EmbedSettings(max_mb=0), **more})
    job.source.path = [str(folder) for folder in folders]
    return job


def _runs(job: ReportJob) -> tuple[list[Run], Embedder]:
    embedder = Embedder(job.embed)
    embedder.may_use(1.0)
    runs = [read_run(Found(Path(p), Path(p).name), job, embedder) for p in job.source.path]
    for number, run in enumerate(runs, 1):
        run.number = number
    return runs, embedder


@pytest.fixture
def read() -> Callable[..., list[Run]]:
    """Reads run folders, as the job does."""
    return lambda *folders, **more: _runs(_job(folders, more))[0]


@pytest.fixture
def drawn() -> Callable[..., str]:
    """The page about run folders."""

    def draw(*folders: Path, **more: Any) -> str:
        job = _job(folders, more)
        runs, embedder = _runs(job)
        return page(runs, job, embedder)

    return draw
