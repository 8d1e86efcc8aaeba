import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from pipelines.energy import counting
from pipelines.progress import Summary


class Monitor:
    """Zeus's, on a machine with one GPU and two CPUs of which one has no counter."""

    def begin_window(self, name: str, sync_execution: bool) -> None:
        self.begun = name

    def end_window(self, name: str, sync_execution: bool) -> Any:
        assert name == self.begun
        return SimpleNamespace(
            gpu_energy={0: 30.0}, cpu_energy={0: 12.5, 1: 0.0}, dram_energy={0: 2.5}
        )


def zeus(monkeypatch: pytest.MonkeyPatch, monitor: Any) -> None:
    package, module = ModuleType("zeus"), ModuleType("zeus.monitor")
    package.__spec__ = SimpleNamespace()  # type: ignore[assignment]
    module.ZeusMonitor = monitor  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "zeus", package)
    monkeypatch.setitem(sys.modules, "zeus.monitor", module)


def test_what_counters_tell_is_kept_by_device_even_of_a_run_that_ends_badly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    zeus(monkeypatch, Monitor)
    summary = Summary()
    with pytest.raises(KeyboardInterrupt), counting(summary):
        raise KeyboardInterrupt
    assert summary.joules == {"gpu 0": 30.0, "cpu 0": 12.5, "dram 0": 2.5}


def test_a_machine_that_cannot_count_runs_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse() -> None:
        raise RuntimeError("no permission to read energy_uj")

    zeus(monkeypatch, refuse)
    summary = Summary()
    with counting(summary):
        pass
    assert summary.joules == {}
    assert "energy cannot be counted on this machine: no permission" in caplog.text


def test_without_the_extra_nothing_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.energy.find_spec", lambda name: None)
    summary = Summary()
    with counting(summary):
        pass
    assert summary.joules == {}
