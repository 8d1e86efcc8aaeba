"""`gemma3n plan` prints what `gemma3n.memory` counts, without loading a weight."""

import json
from pathlib import Path
from typing import Any

import pytest

from gemma3n.errors import SettingsError
from gemma3n.memory import plan_memory
from pipelines.cli import main
from pipelines.plan import plan
from pipelines.settings import ModelSettings, PlanJob


@pytest.fixture
def job(checkpoint_folder: Path, monkeypatch: pytest.MonkeyPatch) -> PlanJob:
    monkeypatch.setenv("COLUMNS", "80")
    return PlanJob(model=ModelSettings(path=str(checkpoint_folder)))


def test_json_holds_every_item_and_every_tier(
    checkpoint_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["sizes=[full,small]", "parts=[text,audio]", "precision=float32", "ple=resident"]
    words += ["context=64", "batch=3", "json=true"]
    assert main(["plan", f"model={checkpoint_folder}", *words]) == 0
    printed: dict[str, Any] = json.loads(capsys.readouterr().out)
    counted = plan_memory(
        checkpoint_folder, "full", ["text", "audio"], "float32", "resident", context=64, batch=3
    )
    assert [size["asked"] for size in printed["sizes"]] == ["full", "small"]
    full = printed["sizes"][0]
    assert full["parameters"] == counted.parameters
    assert full["bytes"] == {tier: counted.tier(tier) for tier in ("device", "host", "disk")}
    assert [item["what"] for item in full["items"]] == [item.what for item in counted.items]
    assert (printed["precision"], printed["context"], printed["batch"]) == ("float32", 64, 3)


def test_the_table_has_a_line_for_every_item_and_a_total_for_every_size(
    job: PlanJob, capsys: pytest.CaptureFixture[str]
) -> None:
    assert plan(job) == 0
    table = capsys.readouterr().out
    for item in plan_memory(job.model.path, context=2048, batch=8).items:
        assert table.count(item.what) == len(job.sizes)
    assert " full " in table
    # This checkpoint names no sizes, so its small one is the whole model.
    assert " small: here full " in table
    assert max(len(line) for line in table.splitlines()) <= 80


def test_numbers_are_rounded_to_three_digits_with_a_unit(
    job: PlanJob, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipelines.plan import _bytes, _count

    numbers = [0, 1, 999, 9_994, 9_996, 99_960, 999_499, 999_500, 4_460_000_000]
    written = ["0", "1 B", "999 B", "9.99 kB", "10.0 kB", "100 kB", "999 kB", "1.00 MB", "4.46 GB"]
    assert [_bytes(number) for number in numbers] == written
    assert [_count(number) for number in (7, 34_816, 6_870_000_000)] == ["7", "34.8 k", "6.87 B"]


@pytest.mark.parametrize("name", ["context", "batch"])
def test_a_plan_for_no_tokens_or_no_rows_is_refused(job: PlanJob, name: str) -> None:
    setattr(job, name, 0)
    with pytest.raises(SettingsError, match=f"{name}=0; at least 1. Leave it out"):
        plan(job)


def test_a_plan_of_nothing_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "model=no/such/folder"]) == 2
    assert "model folder 'no/such/folder' does not exist" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["sizes", "parts"])
def test_a_plan_of_no_size_or_no_part_is_refused(job: PlanJob, name: str) -> None:
    setattr(job, name, [])
    with pytest.raises(SettingsError, match=rf"{name}=\[\]; at least one. Leave it out"):
        plan(job)


def test_a_context_that_the_checkpoint_does_not_have_is_refused(job: PlanJob) -> None:
    job.context = 2049
    with pytest.raises(SettingsError, match=r"context=2049: .* goes up to 2048 \(max_position"):
        plan(job)
