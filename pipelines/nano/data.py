"""Command: packages -> the data of the nano checkpoint, with its licences.

`python -m pipelines.nano.data [--out DIR] [--quick] [--workers N] [--only WORD ...]` goes on where
an earlier call was ended.
"""

import argparse
import logging
import os
from pathlib import Path

from pipelines.nano import speech
from pipelines.nano.packages import write_licences
from pipelines.nano.pictures import make_pictures
from pipelines.nano.steps import Work, do, stamp
from pipelines.nano.tasks import make_tasks

_QUICK = 0.05  # of the full amounts of speech


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m pipelines.nano.data", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("outputs/nano/data"))
    parser.add_argument("--quick", action="store_true", help="a small share of everything")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", nargs="*", default=[], help="steps whose name begins so")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    work = Work(given.out, given.workers, _QUICK if given.quick else 1.0)

    def wanted(name: str) -> bool:
        return not given.only or name.startswith(tuple(given.only))

    # The development manifests are written last.
    if wanted("text") and not (work.out / "text-dev.jsonl").is_file():
        make_tasks(work.out, given.quick)
    if wanted("pictures") and not (work.out / "pictures-dev.jsonl").is_file():
        make_pictures(work.out, given.quick, work.workers)
    for step in speech.steps(work):
        if wanted(step.name) and not stamp(work, step.name).is_file():
            do(step, work)
            speech.gather(work)
    write_licences(work.out, speech.programs())


if __name__ == "__main__":
    main()
