import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma3n.choices import Precision
from gemma3n.memory import Item, MemoryPlan
from pipelines.cli import main
from pipelines.plan_fit import SPARE, Room, fit_lines, lacking, room_of, what_fits
from pipelines.settings import Machine

WIDTHS = {Precision.float32: 4, Precision.bfloat16: 2, Precision.int8: 1, Precision.int4: 0.5}
SIZES = {"full": 8_000_000_000, "middle": 6_000_000_000, "small": 4_000_000_000}


def planned(size: str, precision: Precision) -> MemoryPlan:
    weights = int(SIZES[size] * WIDTHS[precision])
    table = Item("PLE table", "host", 0, 1_000_000_000)
    return MemoryPlan(size, [Item("text", "device", SIZES[size], weights), table])


def room(gigabytes: float) -> Room:
    return Room(int(gigabytes * 1e9) + SPARE + 1_000_000_000)


@pytest.mark.parametrize(
    ("gigabytes", "expected"),
    [
        (16.0, ("full", Precision.bfloat16)),
        (15.0, ("full", Precision.int8)),  # which costs less than a smaller size
        (7.9, ("middle", Precision.int8)),
        (4.0, ("small", Precision.int8)),
        (3.9, ("middle", Precision.int4)),
        (1.9, None),
    ],
)
def test_what_is_proposed_costs_the_least_quality(
    gigabytes: float, expected: tuple[str, Precision] | None
) -> None:
    assert what_fits(planned, list(SIZES), Precision.bfloat16, room(gigabytes)) == expected


@given(gigabytes=st.floats(0, 40), precision=st.sampled_from([*WIDTHS]))
def test_what_is_proposed_fits(gigabytes: float, precision: Precision) -> None:
    found = what_fits(planned, list(SIZES), precision, room(gigabytes))
    if found is None:
        assert lacking(planned("small", Precision.int4), room(gigabytes)) > 0
    else:
        assert lacking(planned(*found), room(gigabytes)) == 0
        assert WIDTHS[found[1]] <= WIDTHS[precision]


def test_beside_a_gpu_there_is_memory_of_its_own() -> None:
    plan = planned("small", Precision.bfloat16)  # 8 GB of weights, 1 GB of the table
    assert lacking(plan, Room(8_000_000_000 + SPARE, 1_000_000_000)) == 0
    assert lacking(plan, Room(8_000_000_000 + SPARE, 900_000_000)) == 100_000_000
    assert lacking(plan, Room(8_000_000_000 + SPARE)) == 1_000_000_000


def test_a_plan_says_what_is_too_much_and_what_to_change() -> None:
    plans = {size: planned(size, Precision.bfloat16) for size in SIZES}
    fit = fit_lines(Machine["laptop-16gb"], plans, ("full", Precision.int8), room(12))
    assert fit[1:] == [
        "full: 4.00 GB too much",
        "middle: fits",
        "small: fits",
        "What fits: nested=full precision=int8",
    ]
    nothing = fit_lines(Machine["phone-4gb"], plans, None, Room(10))
    assert "Nothing fits as it is" in nothing[-1]
    assert len(fit_lines(Machine["this"], plans, None, room(99))) == 4


def test_each_machine_has_room_for_something() -> None:
    for machine in Machine:
        assert room_of(machine).memory > SPARE


def test_a_plan_for_a_machine_by_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "model=nano", "machine=phone-4gb"]) == 0
    printed = capsys.readouterr().out
    assert "phone-4gb gives one program 2.00 GB" in printed
    assert "full: fits" in printed
    assert main(["plan", "model=nano", "machine=h100-80gb", "json=true"]) == 0
    fit: dict[str, Any] = json.loads(capsys.readouterr().out)["fit"]
    assert (fit["machine"], fit["lacking"]) == ("h100-80gb", {"full": 0, "small": 0})
    assert main(["plan", "model=nano", "machine=toaster"]) == 2
    assert "machine=toaster, but it takes one of this, phone-4gb" in capsys.readouterr().err


def test_a_smaller_size_is_proposed_before_int4_whatever_was_asked_for() -> None:
    for asked in (Precision.float32, Precision.bfloat16, Precision.int8):
        assert what_fits(planned, list(SIZES), asked, room(4.0)) == ("small", Precision.int8)
    assert what_fits(planned, list(SIZES), Precision.float32, room(16)) == (
        "full",
        Precision.bfloat16,
    )
