"""Speed and memory on this machine, as a table or as JSON."""

import sys

from rich.console import Console

from gemma3n.errors import SettingsError
from pipelines.exit_code import DONE
from pipelines.settings import BenchJob, Measured


def bench(job: BenchJob) -> int:
    """Measure, and print medians with the lowest and highest of all repetitions.

    Returns:
        Exit code.

    Raises:
        SettingsError: nothing to measure, or see `bench_decode` and `bench_media`.
    """
    for name in ("prompt_tokens", "new_tokens", "files", "repeat", "megabytes"):
        if (value := getattr(job, name)) < 1:
            raise SettingsError(f"{name}={value}; at least 1. Leave it out for the default.")
    if not job.rows or min(job.rows) < 1:
        raise SettingsError(f"rows={job.rows}; give at least one number, each at least 1.")
    match job.what:
        case Measured.decode:
            from pipelines.bench_decode import bench_decode

            found = bench_decode(job)
        case Measured.linear:
            from pipelines.bench_linear import bench_linear

            found = bench_linear(job)
        case Measured.read:
            from pipelines.bench_media import bench_read

            found = bench_read(job)
        case Measured.resize:
            from pipelines.bench_media import bench_resize

            found = bench_resize(job)
    if job.json:
        sys.stdout.write(found.document())
    else:
        Console(markup=False, highlight=False).print(found.table())
    return DONE
