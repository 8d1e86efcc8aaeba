"""Brings a file as far as the model, again and again: its path in, a line of JSON out.

In a process of its own, so that a crash or a hang takes this one and not the tests.
"""

import json
import resource
import sys
from typing import Any

import numpy as np

from gemma3n.errors import SettingsError
from pipelines.step import expand_step, run_step
from stages.media import Media
from stages.mel import Mel, MelSettings
from stages.model import Load
from stages.read import Read
from stages.resize import Resize, ResizeSettings
from stages.row import Row
from stages.source import SourceSettings, list_items

MEMORY = 6 * 2**30  # bytes of address space; libraries take a share of it by being loaded
NANO = Load(folder="nano")


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for line in sys.stdin:
        sys.stdout.write(json.dumps(outcome(line.rstrip("\n"))) + "\n")
        sys.stdout.flush()


def outcome(path: str) -> dict[str, Any]:
    """How many rows of a file are good, and what was said of the others."""
    settings = SourceSettings(path=[path], media=[Media.audio, Media.image])
    read = Read(settings, NANO)
    after = {"mel": Mel(MelSettings(), NANO), "resize": Resize(ResizeSettings(), NANO)}
    good, errors = 0, []
    try:
        for row in list_items(settings):
            rows = list(expand_step(read, "read", row))
            assert [one["segment"] for one in rows] == list(range(len(rows)))
            assert [one["last"] for one in rows] == [False] * (len(rows) - 1) + [True]
            for name, stage in after.items():
                rows = run_step(stage, name, rows)
            for one in rows:
                if error := one.get("error"):
                    errors.append(error["message"])
                else:
                    check(one)
                    good += 1
    except SettingsError as error:  # nothing is in it
        errors.append(str(error))
    return {"good": good, "errors": errors}


def check(row: Row) -> None:
    """See that a row is what the model expects."""
    if "text" in row:  # a clip without speech is done already
        return
    for mel in row["mels"]:
        assert mel.shape[1:] == (128,)
        assert len(mel)
        assert np.isfinite(mel).all()
    assert all(image.shape == (3, 256, 256) for image in row["pixels"])
    assert row["mels"] or row["pixels"] or row["prompt"]


if __name__ == "__main__":
    main()
