"""The job `report`: run folders in, one HTML file out."""

import sys
from pathlib import Path

from gemma3n.errors import SettingsError
from pipelines.exit_code import DONE
from pipelines.output import writable
from pipelines.report.embed import Embedder
from pipelines.report.found import find_runs
from pipelines.report.page import environment, page
from pipelines.report.run import read_run
from pipelines.run import new_folder
from pipelines.settings import ReportJob
from stages.write import replacing

NAME = "report.html"


def report(job: ReportJob) -> int:
    """Write the page, and say where it is.

    Returns:
        Exit code.

    Raises:
        SettingsError: no run is there, the file cannot be written, or jinja2 is not installed.
    """
    environment()  # what it needs is there, before any work
    found = find_runs(job.source.path)
    file = _file(job)
    embedder = Embedder(job.embed)
    runs = []
    for number, one in enumerate(found, 1):
        # Each gets its share of what is left, so that the last ones have clips too.
        embedder.may_use(1 / (len(found) - number + 1))
        runs.append(read_run(one, job, embedder))
        runs[-1].number = number
    with writable(file.parent), replacing(file) as written:
        written.write(page(runs, job, embedder).encode())
    for run in runs:
        for part in run.survey.unreadable:
            sys.stderr.write(f"gemma3n: {part}\n")
    sys.stdout.write(f"{file}\n")
    return DONE


def _file(job: ReportJob) -> Path:
    if job.output is None:
        paths = job.source.path
        folder = Path(paths[0]) if len(paths) == 1 else new_folder("report")
        return folder / NAME
    file = Path(job.output)
    if file.is_dir():
        return file / NAME
    if file.suffix.lower() not in (".html", ".htm"):
        raise SettingsError(
            f"output '{file}' is no folder, and its name does not end in .html. "
            "Name an HTML file, or a folder that is there."
        )
    return file
