"""`workers=ray` of `train`: workers of Ray Train on this machine."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from gemma3n import SettingsError
from gemma3n.choices import Device
from pipelines.settings import BatchSettings, TrainJob, WorkerKind, WorkersSettings
from pipelines.train import train

MakeJob = Callable[..., TrainJob]
ON_RAY = WorkersSettings(WorkerKind.ray)


def trained(job: TrainJob) -> torch.Tensor:
    """All of the model's weights that a run ends with, as one."""
    assert train(job) == 0
    saved = load_file(Path(job.output) / "state" / "weights.safetensors")
    return torch.cat([saved[name].flatten() for name in sorted(saved) if ".model." in name])


@pytest.mark.slow
def test_two_workers_learn_what_one_process_learns_from_twice_as_much(make_job: MakeJob) -> None:
    batch = BatchSettings(audio_seconds=12, images=2, texts=2, accumulate=2)
    start = trained(make_job("start", steps=0))
    workers = trained(make_job("ray", steps=2, processes=2, workers=ON_RAY))
    processes = trained(make_job("processes", steps=2, processes=2))
    twice = trained(make_job("twice", steps=2, batch=batch))
    assert torch.equal(workers, processes)
    assert (workers - twice).norm() < 0.01 * (twice - start).norm()
    assert not (Path(make_job("ray").output) / ".ray").exists()


@pytest.mark.slow
def test_what_workers_cannot_learn_from_is_refused_as_by_one_process(make_job: MakeJob) -> None:
    long = BatchSettings(join_seconds=40.0)
    with pytest.raises(SettingsError, match=r"^batch\.join_seconds=40\.0, but a prompt of this"):
        train(make_job("a", processes=2, batch=long, workers=ON_RAY))
    with pytest.raises(SettingsError, match="processes=99 take a GPU each, but the cluster has"):
        train(make_job("b", processes=99, device=Device.cuda, workers=ON_RAY))


def test_without_ray_train_it_is_said_how_to_get_it(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray.train", None)
    with pytest.raises(SettingsError, match=r"pip install 'gemma3n-pipelines\[ray-train\]'; or"):
        train(make_job("a", workers=ON_RAY))


def test_an_address_where_nobody_is_is_refused(make_job: MakeJob) -> None:
    nowhere = WorkersSettings(WorkerKind.ray, address="127.0.0.1:1")
    with pytest.raises(SettingsError, match=r"^workers\.address=127\.0\.0\.1:1: nobody answers at"):
        train(make_job("a", workers=nowhere))


def test_more_cores_than_the_cluster_has_are_refused(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    from pipelines.ray_train import _device

    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 7.0})
    job = make_job("a", processes=2, workers=WorkersSettings(WorkerKind.ray, num_cpus=4))
    with pytest.raises(SettingsError, match=r"take 8 cores, but the cluster has 7\. Lower one"):
        _device(job)


def test_workers_have_a_core() -> None:
    with pytest.raises(SettingsError, match=r"workers\.num_cpus=0; at least 1\. Raise it\."):
        WorkersSettings(num_cpus=0)
