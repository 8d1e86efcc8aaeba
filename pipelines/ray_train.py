"""`train workers=ray`: those that share a step are workers of Ray Train, on any nodes."""

import logging
import os
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from gemma3n.checkpoint import bring_weights
from gemma3n.choices import Device
from gemma3n.errors import SettingsError
from pipelines.ray_address import connect
from pipelines.ray_usage import send_nothing
from pipelines.settings import TrainJob, WorkersSettings

_ADDRESS = "workers.address"
_WORK = ".ray"  # folder within the run folder, of what Ray Train notes down


def train_on_ray(job: TrainJob) -> None:
    """Train in as many workers as there are to be processes.

    Args:
        job: settings, whose paths are absolute: all nodes have the same files there.

    Raises:
        SettingsError: Ray Train is not installed, no such cluster or GPUs, or what the loop
            refuses.
    """
    send_nothing()
    try:
        from ray.train import RunConfig, ScalingConfig, WorkerGroupError
        from ray.train.torch import TorchTrainer
    except ImportError as error:
        raise SettingsError(
            f"workers=ray trains through Ray Train, which cannot be loaded here ({error}). "
            "Install it: pip install 'gemma3n-pipelines[ray-train]'; or leave workers=ray out, "
            "and processes= are all of this machine."
        ) from error
    work = Path(job.output) / _WORK
    with ThreadPoolExecutor(1, "fit") as thread, _cluster(job.workers, job.processes):
        job.device = _device(job)
        sys.stderr.write(
            f"training in {job.processes} workers; {job.output}/run.log tells how far they are\n"
        )
        trainer = TorchTrainer(
            partial(_work, job),
            scaling_config=ScalingConfig(
                num_workers=job.processes,
                use_gpu=job.device is Device.cuda,
                resources_per_worker={"CPU": job.workers.num_cpus},
            ),
            run_config=RunConfig(storage_path=str(work)),
        )
        try:
            # In a thread Ray leaves our handlers of signals alone, which end a run in good order.
            thread.submit(trainer.fit).result()
        except WorkerGroupError as error:
            for failure in error.worker_failures.values():
                if isinstance(failure, SettingsError):
                    raise failure from error
            raise
        finally:
            shutil.rmtree(work, ignore_errors=True)


@contextmanager
def _cluster(settings: WorkersSettings, workers: int) -> Iterator[None]:
    """A cluster of this machine, or the one that is running, for as long as the block."""
    import ray

    # Without a dashboard Ray Train warns every second that it cannot ask it; our log is a file.
    how: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if settings.address is None:
        # Cores are for placing only: a machine with fewer runs as many workers, and slower.
        cores = max(os.cpu_count() or 1, workers * settings.num_cpus)
        how |= {"num_cpus": cores, "include_dashboard": False}
    connect(settings.address, _ADDRESS, **how)
    try:
        yield
    finally:
        ray.shutdown()


def _device(job: TrainJob) -> Device:
    """Where workers compute; `auto` is cuda where the cluster has a GPU for each.

    Raises:
        SettingsError: it has none, or too few, or too few cores; Ray Train would wait for ever.
    """
    import ray

    has: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    gpus, cores = int(has.get("GPU", 0)), int(has.get("CPU", 0))
    if job.device is Device.cuda and gpus < job.processes:
        raise SettingsError(
            f"processes={job.processes} take a GPU each, but the cluster has {gpus}. Lower "
            "processes, give workers.address= of a larger cluster, or take device=cpu."
        )
    if (needed := job.processes * job.workers.num_cpus) > cores:
        raise SettingsError(
            f"processes={job.processes} and workers.num_cpus={job.workers.num_cpus} take "
            f"{needed} cores, but the cluster has {cores}. Lower one of them, or give "
            "workers.address= of a larger cluster."
        )
    if job.device is Device.auto:
        return Device.cuda if gpus >= job.processes else Device.cpu
    return job.device


def _work(job: TrainJob) -> None:
    """What each worker does; the process group is made already."""
    import ray.train
    import torch

    from pipelines.train import take_part
    from pipelines.training.device import training_device

    context = ray.train.get_context()
    torch.set_num_threads(job.workers.num_cpus)
    bring_weights(job.init)  # this node may not have them yet
    device = training_device(job.device, context.get_local_rank())
    take_part(job, context.get_world_rank(), device)
