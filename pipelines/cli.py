"""`gemma3n <job> [paths] [key=value ...]`: words in, an exit code out. Imports no torch.

Exit codes: 0 all done; 1 a bug (its traceback is shown); 2 wrong use, before any work; 3 finished,
but some rows failed; 130 interrupted.
"""

import getopt
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gemma3n.errors import SettingsError

WRONG_USE = 2
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the words after `gemma3n`; None takes those of this process.

    Returns:
        The exit code.
    """
    try:
        return _run(list(sys.argv[1:] if argv is None else argv))
    except SettingsError as error:
        sys.stderr.write(f"gemma3n: {' '.join(str(error).splitlines())}\n")
        return WRONG_USE
    except KeyboardInterrupt:
        sys.stderr.write("gemma3n: interrupted\n")
        return INTERRUPTED


def _run(argv: list[str]) -> int:
    options, words, paths = parse(argv)
    if not words:
        from pipelines.help import general_help

        sys.stdout.write(general_help())
        return 0 if "--help" in options else WRONG_USE

    from pipelines import compose

    job = compose.known_job(words[0])
    defaults = compose.compose(job)
    if "--help" in options:
        from pipelines.help import job_help

        sys.stdout.write(job_help(job, defaults))
        return 0
    if "-o" in options:
        words.append(f"output={options['-o']}")
    keys = compose.keys_of_config(defaults)
    overrides, warnings = compose.overrides_of(job, keys, words[1:], paths)
    for warning in warnings:
        sys.stderr.write(f"gemma3n: {warning}\n")
    run = None
    if file := options.get("--from"):
        run = compose.read_run(job, defaults, Path(file))
    config = compose.compose(job, overrides, run)
    if "--cfg" in options:
        from omegaconf import OmegaConf

        sys.stdout.write(OmegaConf.to_yaml(config))
        return 0
    start = ["--from", file] if file else []
    command = compose.equivalent_line(job, [*start, *overrides])
    return _dispatch(compose.to_settings(job, config), command)


def parse(argv: list[str]) -> tuple[dict[str, str], list[str], list[str]]:
    """Options by name, the words between them, and the paths after `--`."""
    end = argv.index("--") if "--" in argv else len(argv)
    try:
        found, words = getopt.gnu_getopt(argv[:end], "ho:m", ["help", "cfg=", "from=", "multirun"])
    except getopt.GetoptError as error:
        raise SettingsError(
            f"{error.msg}. Options are -o DIR, -h, --cfg job and --from FILE; "
            "a path that starts with '-' goes after `--`."
        ) from error
    options = dict(found)
    if "-h" in options:
        options["--help"] = ""
    if "-m" in options or "--multirun" in options:
        raise SettingsError(
            "-m asks for a sweep, which does not exist yet. Give one value a setting, and one "
            "command for each of the others."
        )
    if options.get("--cfg", "job") != "job":
        raise SettingsError(f"--cfg {options['--cfg']}; only --cfg job exists. Write --cfg job.")
    return options, words, argv[end + 1 :]


def _dispatch(settings: Any, command: str) -> int:
    """Run a job by the class of its settings, which its YAML names."""
    from pipelines.settings import BenchJob, PathJob, PlanJob, SliceJob, TrainJob

    match settings:
        case PathJob():
            from pipelines.run import run_job

            return run_job(settings, command)
        case PlanJob():
            from pipelines.plan import plan

            return plan(settings)
        case SliceJob():
            from pipelines.slice import slice_job

            return slice_job(settings)
        case BenchJob():
            from pipelines.bench import bench

            return bench(settings)
        case TrainJob():
            from pipelines.train import train

            return train(settings)
    raise TypeError(f"no runner for {type(settings).__name__}")
