"""Training somewhere else than on the CPU, as far as a machine without a GPU can tell."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import load_file
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from gemma3n import SettingsError
from gemma3n.checkpoint import Checkpoint
from gemma3n.choices import Device, Precision
from gemma3n.joint import Weighted
from gemma3n.trainable import Trainable, TrainableTable
from pipelines.settings import (
    BatchSettings,
    LoraSettings,
    LossSettings,
    RateSettings,
    TrainJob,
    Trains,
)
from pipelines.train import train
from pipelines.training.batch import Batch
from pipelines.training.device import Products, products, training_device
from pipelines.training.examples import Kind, read_examples
from pipelines.training.loop import Loop
from pipelines.training.objective import Objective

MakeJob = Callable[..., TrainJob]
CPU, AWAY = torch.device("cpu"), torch.device("meta")


class Elsewhere(torch.Tensor):
    """A tensor that says it is on another device; its values are computed on the CPU.

    The label is `meta`, the one device besides the CPU that every build of torch has.
    """

    here: torch.Tensor

    @staticmethod
    def __new__(cls, here: torch.Tensor) -> "Elsewhere":
        self = torch.Tensor._make_wrapper_subclass(
            cls,
            here.shape,
            strides=here.stride(),
            storage_offset=here.storage_offset(),
            dtype=here.dtype,
            device=AWAY,
            requires_grad=False,
        )
        self.here = here
        return self

    def __repr__(self) -> str:  # type: ignore[override]
        return f"Elsewhere({self.here!r})"

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, op: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return _computed(op, args, kwargs or {})


class OneDevice(TorchDispatchMode):
    """Every operation has all its operands on one device, as a GPU's kernels ask for."""

    def __torch_dispatch__(
        self, op: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return _computed(op, args, kwargs or {})


class ListsToo(TorchFunctionMode):
    """From and to lists by way of the CPU: torch does that where no dispatch mode can see it."""

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.tensor and (device := kwargs.pop("device", None)) is not None:
            return torch.tensor(*args, **kwargs).to(device)
        if func is torch.Tensor.tolist and isinstance(args[0], Elsewhere):
            return args[0].here.tolist()
        if func is torch.Tensor.__getitem__ and isinstance(args[0], Elsewhere):
            places = args[1] if isinstance(args[1], tuple) else (args[1],)
            moved = (torch.tensor(p).to(AWAY) if isinstance(p, list) else p for p in places)
            args = (args[0], tuple(moved))
        return func(*args, **kwargs)


def _computed(op: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    tensors = [one for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)]
    away = any(isinstance(one, Elsewhere) for one in tensors)
    to = kwargs.get("device")
    moves = op in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
    if away and not moves:
        # A single number of the CPU's may be an operand anywhere.
        left = [t for t in tensors if not isinstance(t, Elsewhere) and t.dim() > 0]
        if left:
            raise RuntimeError(f"{op}: operands on two devices, {[t.shape for t in left]} on cpu")
    if to is not None:
        kwargs = {**kwargs, "device": CPU}
        away = torch.device(to) == AWAY
    elif op is torch.ops.aten.copy_.default:
        away = isinstance(args[0], Elsewhere)
    plain_args, plain_kwargs = tree_map(lambda t: getattr(t, "here", t), (args, kwargs))
    made = op(*plain_args, **plain_kwargs)
    known = {id(t.here): t for t in tensors if isinstance(t, Elsewhere)}

    def wrapped(t: Any) -> Any:
        if not away or not isinstance(t, torch.Tensor):
            return t
        return known[id(t)] if id(t) in known else Elsewhere(t)  # changed in place, or new

    return tree_map(wrapped, made)


@contextmanager
def elsewhere() -> Iterator[None]:
    """Where tensors may be on `AWAY`."""
    with OneDevice(), ListsToo():  # type: ignore[no-untyped-call]
        yield


def last_line(job: TrainJob) -> dict[str, float]:
    """The losses at the end of a run, and its scores."""
    lines = (Path(job.output) / "log.jsonl").read_text().splitlines()
    shown = {k: v for line in lines for k, v in json.loads(line).items() if k != "seconds"}
    scores = shown.pop("scores", {})
    return {**shown, **scores}


def run_away(job: TrainJob) -> Loop:
    Path(job.output).mkdir()
    with elsewhere():
        loop = Loop(job, 0, AWAY)
        assert loop.run()
    return loop


def test_the_pretended_device_refuses_what_a_gpu_would() -> None:
    with elsewhere():
        x = torch.ones(3).to(AWAY)
        assert x.device == AWAY
        assert (x + 1).sum().item() == 6
        with pytest.raises(RuntimeError, match="operands on two devices"):
            x + torch.ones(3)


@pytest.mark.parametrize(
    ("settings", "table_at"),
    [
        ({"loss": LossSettings(1.0, 0.3, 0.2, 0.2, 0.1, 0.1)}, AWAY),
        ({"trains": Trains.lora, "lora": LoraSettings(dropout=0.2), "loss": LossSettings()}, CPU),
        ({"trains": Trains.towers, "loss": LossSettings(0.0, 0.3, 0.0, 0.2, 0.5)}, CPU),
    ],
    ids=["all", "lora", "towers"],
)
def test_a_run_leaves_nothing_behind_on_the_cpu_and_learns_the_same(
    make_job: MakeJob,
    settings: dict[str, Any],
    table_at: torch.device,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipelines.training.loop._LOG_S", 1e9)  # one line, at the end
    # A low rate: Adam's first step is as large for a gradient of rounding errors as for any
    # other, so that at 1e-3 the second step's gradients can differ by more than is allowed.
    settings["rate"] = RateSettings(peak=1e-4, warmup=2, average=0.9)
    settings["batch"] = BatchSettings(audio_seconds=6, images=2, texts=2)
    here, away = (make_job(name, steps=2, **settings) for name in ("here", "away"))
    if not here.loss.answer:
        # Answers are given by a checkpoint as any job would load it: on a real device.
        here.dev = away.dev = list(here.train)
    train(here)
    loop = run_away(away)
    assert loop.model.device == AWAY
    # Only where it trains does the largest tensor take memory of the device.
    assert cast(TrainableTable, loop.model.text.table).weight.device == table_at
    assert last_line(away) == pytest.approx(last_line(here), rel=1e-3)
    assert len(last_line(here)) > (6 if here.dev else 3)


def test_what_is_computed_in_bfloat16_is_close_to_float32(
    make_job: MakeJob, collate: Callable[..., Batch], checkpoint_folder: Path
) -> None:
    checkpoint = Checkpoint(checkpoint_folder)
    model = Trainable(checkpoint.config)
    model.load(checkpoint)
    found = read_examples(make_job("unused").train)
    rough = Products(torch.bfloat16, torch.bfloat16)
    for kind in Kind:
        batch = collate([one for one in found if one.kind is kind][:2], "")
        exact, rounded = (
            Objective(model, LossSettings(guide=0.1), [], one)(
                model, batch, [Weighted(model.text.full, 1.0)]
            )
            for one in (Products(), rough)
        )
        for name, loss in rounded.items():
            assert loss.dtype is torch.float32
            assert loss.item() == pytest.approx(exact[name].item(), rel=0.1)
            assert loss.item() != exact[name].item()


def test_a_cpu_rounds_the_audio_tower_alone() -> None:
    assert products(Precision.bfloat16, CPU) == Products(torch.bfloat16, torch.float32)
    gpu = torch.device("cuda", 0)
    assert products(Precision.bfloat16, gpu) == Products(torch.bfloat16, torch.bfloat16)
    assert products(Precision.float32, gpu) == Products()


def test_a_device_that_training_cannot_have_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="device=mps; training takes auto, cpu or cuda"):
        training_device(Device.mps)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert training_device(Device.auto) == CPU
    with pytest.raises(SettingsError, match=r"device='cuda', but this machine has .*cpu"):
        training_device(Device.cuda)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert training_device(Device.auto, 1) == torch.device("cuda:1")
    assert training_device(Device.cpu, 7) == CPU
    with pytest.raises(SettingsError, match="process 3 finds no GPU of its own: this machine has"):
        training_device(Device.cuda, 2)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_gpu_learns_what_a_cpu_does_and_resumes_bit_for_bit(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        settings = {"device": Device.cuda, "trains": Trains.lora, "loss": LossSettings()}
        lora = LoraSettings(dropout=0.2)
        through = make_job("through", **settings, lora=lora)
        stopped = make_job("stopped", **settings, lora=lora, minutes=0.0)
        train(through)
        for _ in range(4):
            train(stopped)
        first, second = (
            load_file(Path(job.output) / "state" / "weights.safetensors")
            for job in (through, stopped)
        )
        assert all(torch.equal(first[name], second[name]) for name in first)
        # Without dropout, which draws other numbers on another device.
        here, there = (
            make_job(d.value, **{**settings, "device": d}) for d in (Device.cpu, Device.cuda)
        )
        train(here)
        train(there)
        assert last_line(there) == pytest.approx(last_line(here), rel=1e-3)
    finally:
        torch.use_deterministic_algorithms(False)
