"""Joint training of nested sizes: settings in, a checkpoint of the released layout out."""

import logging
import os
import sys
import tempfile
from dataclasses import replace
from multiprocessing import parent_process
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from gemma3n.checkpoint import bring_weights
from gemma3n.config import Config
from gemma3n.errors import SettingsError
from gemma3n.named import checkpoint_folder, lasting
from pipelines.compose import to_yaml
from pipelines.flat import flat
from pipelines.mistakes import refused_elsewhere
from pipelines.settings import TrainJob, WorkerKind
from pipelines.training.files import STATE
from stages.write import replacing

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

_CONFIG = "config.yaml"
_MAY_CHANGE = (
    *("steps", "minutes", "dev", "save_minutes", "device"),
    "gradient_checkpointing",
    *("validate_first", "validate_steps", "validate_rows", "output"),
    *("workers.kind", "workers.address", "workers.num_cpus"),
)


def train(job: TrainJob) -> int:
    """Train, or go on with what an earlier run in the same folder began.

    Returns:
        Exit code.

    Raises:
        SettingsError: no such config or manifest, or the earlier run had other settings.
    """
    if missing := [name for name in [*job.train, *job.dev] if not Path(name).is_file()]:
        raise SettingsError(f"manifests {missing} do not exist. Correct the paths.")
    # Absolute, so that `--from` repeats the run from anywhere.
    job = replace(
        job,
        init=lasting(job.init),
        train=[str(Path(name).absolute()) for name in job.train],
        dev=[str(Path(name).absolute()) for name in job.dev],
        output=str(Path(job.output).absolute()),
    )
    output = Path(job.output)
    _check_resumed(job, output)
    Config.from_folder(checkpoint_folder(job.init))
    bring_weights(job.init)  # here, and not in each process at once
    output.mkdir(parents=True, exist_ok=True)
    with replacing(output / _CONFIG) as file:
        file.write(to_yaml(job).encode())
    if job.workers.kind is WorkerKind.ray:
        from pipelines.ray_train import train_on_ray

        train_on_ray(job)
    elif job.processes == 1:
        _worker(0, job, "")
    else:
        _spawn(job)
    sys.stdout.write(f"{output}\n")
    return 0


def _spawn(job: TrainJob) -> None:
    from torch.multiprocessing.spawn import ProcessRaisedException, spawn

    with tempfile.TemporaryDirectory() as meeting:
        try:
            spawn(_worker, (job, f"file://{meeting}/point"), nprocs=job.processes)
        except ProcessRaisedException as error:  # it carries the traceback as text
            if (refusal := refused_elsewhere(str(error))) is not None:
                raise SettingsError(refusal) from error
            raise


def _check_resumed(job: TrainJob, output: Path) -> None:
    """Refuse to go on with a run under settings that would have made it another one."""
    import yaml

    config = output / _CONFIG
    if not (config.is_file() and (output / STATE).is_dir()):
        return
    earlier = yaml.safe_load(config.read_text(encoding="utf-8"))
    before = flat(earlier if isinstance(earlier, dict) else {})
    # A setting that is newer than the run had its default then.
    defaults = flat(yaml.safe_load(to_yaml(TrainJob(job.init, job.train, output=job.output))))
    for name, value in flat(yaml.safe_load(to_yaml(job))).items():
        was = before.get(name, defaults[name])
        if name not in _MAY_CHANGE and was != value:
            raise SettingsError(
                f"output '{output}' holds a run with {name}={was}, and this one asks for "
                f"{value}. Choose another folder, or the same settings; "
                f"only {', '.join(_MAY_CHANGE)} may change."
            )


def _end_with_parent() -> None:
    """End with a parent that is killed: torch's own way is a SIGINT, which `&` ignores."""
    if (parent := parent_process()) is not None:
        parent.join()
        os._exit(1)


def _worker(rank: int, job: TrainJob, meeting: str) -> None:
    import torch

    from pipelines.training.device import training_device

    device = training_device(job.device, rank)
    if job.processes > 1:
        Thread(target=_end_with_parent, daemon=True).start()
        if device.type == "cpu":
            torch.set_num_threads(1)
            cores = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(0, {cores[rank % len(cores)]})
        else:
            torch.cuda.set_device(device)
        torch.distributed.init_process_group(
            "gloo" if device.type == "cpu" else "nccl",
            init_method=meeting,
            rank=rank,
            world_size=job.processes,
        )
    take_part(job, rank, device)
    if job.processes > 1:
        torch.distributed.destroy_process_group()


def take_part(job: TrainJob, rank: int, device: "torch.device") -> None:
    """Run the loop in one of its processes; of several, the group is made already.

    Args:
        job: settings.
        rank: number of this process.
        device: where it computes.
    """
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
    if not Loop(job, rank, device).run() and rank == 0:
        logger.info("stopped before the last step; the same command goes on from here")
