"""`gemma3n <job> [paths] [key=value ...]`: words in, an exit code out. Imports no torch."""

import getopt
import re
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gemma3n.errors import SettingsError
from pipelines.exit_code import DONE, INTERRUPTED, WRONG_USE

_LONG = ["help", "version", "cfg=", "from=", "multirun", "parallel="]
_SHORT_OPTIONS = "ho:mj:"
_EXPERIMENT = re.compile(r"\+{0,2}experiment=")
_SAME = {"-h": "--help", "-m": "--multirun", "-j": "--parallel"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the words after `gemma3n`; None takes those of this process.

    Returns:
        The exit code; `exit_code.py` says what each means.
    """
    try:
        with _terminable():
            return _run(list(sys.argv[1:] if argv is None else argv))
    except SettingsError as error:
        sys.stderr.write(f"gemma3n: {' '.join(str(error).splitlines())}\n")
        return WRONG_USE
    except KeyboardInterrupt:
        sys.stderr.write("gemma3n: interrupted\n")
        return INTERRUPTED


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM, as a scheduler sends it, stops a job as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():  # others cannot be interrupted
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(argv: list[str]) -> int:
    options, words, paths = parse(argv)
    if "--version" in options:
        sys.stdout.write(f"{_version()}\n")
        return DONE
    if not words:
        from pipelines.help import general_help

        sys.stdout.write(general_help())
        return DONE if "--help" in options else WRONG_USE

    from pipelines import catalogue, compose

    job = catalogue.known_job(words[0])
    defaults = compose.compose(job)
    if "--help" in options:
        from pipelines.help import job_help

        sys.stdout.write(job_help(job, defaults))
        return DONE
    keys = compose.keys_of_config(defaults)
    file = options.get("--from")
    run = compose.read_run(job, defaults, Path(file)) if file else None
    if _is_sweep(words[1:], options):
        from pipelines.sweep.command import Line, run_line

        return run_line(Line(job, words[1:], paths, options, run), keys)
    overrides, warnings = compose.overrides_of(job, keys, words[1:], paths, options.get("-o"))
    for warning in warnings:
        sys.stderr.write(f"gemma3n: {warning}\n")
    config = compose.compose(job, overrides, run)
    compose.check_used(job, config, overrides)
    if "--cfg" in options:
        sys.stdout.write(compose.composed_yaml(job, config))
        return DONE
    start = ["--from", file] if file else []
    command = compose.equivalent_line(job, [*start, *overrides])
    return _dispatch(compose.to_settings(job, config), command)


def _is_sweep(words: list[str], options: Mapping[str, str]) -> bool:
    """Whether a command line asks for several runs: by -m, or by an experiment, which is some."""
    is_sweep = "--multirun" in options or any(_EXPERIMENT.match(word) for word in words)
    if "--parallel" in options and not is_sweep:
        raise SettingsError(
            f"-j {options['--parallel']} is how many runs of a sweep are at work at once, and this "
            "is one run. Add -m, or leave it out."
        )
    return is_sweep


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    name = "gemma3n-pipelines"
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return f"{name}, not installed: run from its source"


def parse(argv: list[str]) -> tuple[dict[str, str], list[str], list[str]]:
    """Options by name, the words between them, and the paths after `--`."""
    end = argv.index("--") if "--" in argv else len(argv)
    try:
        found, words = getopt.gnu_getopt(argv[:end], _SHORT_OPTIONS, _LONG)
    except getopt.GetoptError as error:
        raise SettingsError(
            f"{error.msg}. Options are -o DIR, -m, -j N, -h, --cfg job, --from FILE and --version; "
            "a path that starts with '-' goes after `--`."
        ) from error
    options = {_SAME.get(name, name): value for name, value in found}
    if options.get("--cfg", "job") != "job":
        raise SettingsError(f"--cfg {options['--cfg']}; only --cfg job exists. Write --cfg job.")
    return options, words, argv[end + 1 :]


def _dispatch(settings: Any, command: str) -> int:
    """Run a job by the class of its settings, which its YAML names."""
    from pipelines.settings import (
        BenchJob,
        DoctorJob,
        EvaluateJob,
        ExportJob,
        MergeJob,
        PathJob,
        PlanJob,
        QuantizeJob,
        ReportJob,
        SliceJob,
        TrainJob,
    )

    match settings:
        case PathJob():
            from pipelines.run import run_job

            return run_job(settings, command)
        case EvaluateJob():
            from pipelines.evaluate import evaluate

            return evaluate(settings, command)
        case PlanJob():
            from pipelines.plan import plan

            return plan(settings)
        case SliceJob():
            from pipelines.slice import slice_job

            return slice_job(settings)
        case QuantizeJob():
            from pipelines.quantize import quantize_job

            return quantize_job(settings)
        case MergeJob():
            from pipelines.merge import merge_job

            return merge_job(settings)
        case ExportJob():
            from pipelines.export.job import export

            return export(settings)
        case BenchJob():
            from pipelines.bench.job import bench

            return bench(settings)
        case ReportJob():
            from pipelines.report.job import report

            return report(settings)
        case DoctorJob():
            from pipelines.doctor.doctor import doctor

            return doctor(settings)
        case TrainJob():
            from pipelines.output import writable
            from pipelines.train import train

            with writable(settings.output):
                return train(settings)
    raise TypeError(f"no runner for {type(settings).__name__}")
