"""One clip and one picture through the whole path on nano: the text must be what is right."""

import contextlib
import io
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq

from pipelines.compose import compose, to_settings, typed_path
from pipelines.doctor.finding import Finding, broken, ok
from pipelines.run import run_path

GROUP = "self-test"
SAMPLES = Path(__file__).parent / "samples"
RIGHT = {
    "transcribe": ("seven.wav", "seven"),
    "caption": ("three.png", "the handwritten digit three"),
}
_FIX = "Reinstall the package; if that is no help, report this with what `doctor json=true` prints."


def self_test() -> list[Finding]:
    """Both, in float32 on the device that jobs would use."""
    return [_try(job, *what) for job, what in RIGHT.items()]


def said(job: str, file: Path) -> str:
    """What a job makes of a file.

    Raises:
        RuntimeError: the run failed, or its row did.
    """
    words = [
        f"source.path=[{typed_path(str(file))}]",
        "precision=float32",
        "sink.formats=[parquet]",
    ]
    settings = to_settings(job, compose(job, words))
    log = io.StringIO()
    with tempfile.TemporaryDirectory() as folder:
        with contextlib.redirect_stderr(log):
            code = run_path(settings, Path(folder) / "run")
        (row,) = pq.read_table(Path(folder) / "run/results.parquet").to_pylist()
    if code or row["error"]:
        raise RuntimeError(f"exit code {code}: {row['error']}")
    return str(row["text"])


def _try(job: str, name: str, right: str) -> Finding:
    start = time.perf_counter()
    what = f"{job} {name}"
    try:
        text = said(job, SAMPLES / name)
    except Exception as error:  # whatever it is, it is what is looked for here
        return broken(GROUP, what, f"{type(error).__name__}: {' '.join(str(error).split())}", _FIX)
    seconds = time.perf_counter() - start
    if text != right:
        return broken(GROUP, what, f"said {text!r}, and {right!r} is right", _FIX)
    return ok(GROUP, what, f"said {text!r}, as is right, in {seconds:.1f} s")
