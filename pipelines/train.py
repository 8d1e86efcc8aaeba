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


def train(job: TrainJob) -> int:
    """Train, or go on with what an earlier run in the same folder began.

    Returns:
        Exit code.

    Raises:
        SettingsError: no such config or manifest.
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
    output.mkdir(parents=True, exist_ok=True)
    (output / "config.yaml").write_text(to_yaml(job), encoding="utf-8")
    if job.processes == 1:
        _worker(0, job, "")
    else:
        from torch.multiprocessing.spawn import spawn

        with tempfile.TemporaryDirectory() as meeting:
            spawn(_worker, (job, f"file://{meeting}/point"), nprocs=job.processes)
    sys.stdout.write(f"{output}\n")
    return 0


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
