"""Joint training of nested sizes: settings in, a checkpoint of the released layout out."""

import logging
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from gemma3n.config import Config
from gemma3n.errors import SettingsError
from pipelines.compose import to_yaml
from pipelines.settings import TrainJob

logger = logging.getLogger(__name__)

_CONFIG = "config.yaml"
_MAY_CHANGE = (
    *("steps", "minutes", "dev", "save_minutes"),
    *("validate_first", "validate_steps", "validate_rows", "output"),
)


def train(job: TrainJob) -> int:
    """Train, or go on with what an earlier run in the same folder began.

    Returns:
        Exit code.

    Raises:
        SettingsError: no such config or manifest, or the earlier run had other settings.
    """
    Config.from_folder(Path(job.init))
    if missing := [name for name in [*job.train, *job.dev] if not Path(name).is_file()]:
        raise SettingsError(f"manifests {missing} do not exist. Correct the paths.")
    # Absolute, so that `--from` repeats the run from anywhere.
    job = replace(
        job,
        init=str(Path(job.init).absolute()),
        train=[str(Path(name).absolute()) for name in job.train],
        dev=[str(Path(name).absolute()) for name in job.dev],
        output=str(Path(job.output).absolute()),
    )
    output = Path(job.output)
    _check_resumed(job, output)
    output.mkdir(parents=True, exist_ok=True)
    (output / _CONFIG).write_text(to_yaml(job), encoding="utf-8")
    if job.processes == 1:
        _worker(0, job, "")
    else:
        from torch.multiprocessing.spawn import spawn

        with tempfile.TemporaryDirectory() as meeting:
            spawn(_worker, (job, f"file://{meeting}/point"), nprocs=job.processes)
    sys.stdout.write(f"{output}\n")
    return 0


def _check_resumed(job: TrainJob, output: Path) -> None:
    """Refuse to go on with a run under settings that would have made it another one."""
    import yaml

    config = output / _CONFIG
    if not config.is_file():
        return
    before, now = yaml.safe_load(config.read_text(encoding="utf-8")), yaml.safe_load(to_yaml(job))
    for name, value in now.items():
        if name not in _MAY_CHANGE and name in before and before[name] != value:
            raise SettingsError(
                f"output '{output}' holds a run with {name}={before[name]}, and this one asks for "
                f"{value}. Choose another folder, or the same settings; "
                f"only {', '.join(_MAY_CHANGE)} may change."
            )


def _worker(rank: int, job: TrainJob, meeting: str) -> None:
    import torch

    from pipelines.training.loop import Loop

    if rank == 0:
        handlers: list[logging.Handler] = [
            logging.StreamHandler(),
            logging.FileHandler(Path(job.output) / "run.log"),
        ]
        logging.basicConfig(
            level=logging.INFO,
            format="%(asctime)s %(levelname)s %(name)s: %(message)s",
            handlers=handlers,
        )
    if job.processes > 1:
        torch.set_num_threads(1)
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[rank % len(cores)]})
        torch.distributed.init_process_group(
            "gloo", init_method=meeting, rank=rank, world_size=job.processes
        )
    done = Loop(job, rank).run()
    if rank == 0 and not done:
        logger.info("stopped before the last step; the same command goes on from here")
    if job.processes > 1:
        torch.distributed.destroy_process_group()
