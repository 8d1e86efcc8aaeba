"""Plans against a machine: what fits, by how much not, and what to change so that it does."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gemma3n.choices import Precision
from gemma3n.limits import total_memory
from gemma3n.memory import GB, MemoryPlan
from gemma3n.readable import bytes_text
from pipelines.settings import Machine

# Bytes that a run takes besides what a plan counts: the program, torch, and heap in between.
SPARE = 500_000_000
# Formats from the largest to the smallest; the last costs more quality than a smaller size does.
_FORMATS = (Precision.float32, Precision.bfloat16, Precision.int8, Precision.int4)


@dataclass(frozen=True)
class Room:
    """Bytes that one program may have."""

    memory: int  # where the weights are: of the machine, or of its GPU
    host: int | None = None  # beside a GPU; None where there is one memory for all


# A phone's system and its other programs hold about half of its memory, a laptop's a quarter; of a
# GPU its driver keeps a little.
_ROOMS = {
    Machine["phone-4gb"]: Room(int(2 * GB)),
    Machine["phone-8gb"]: Room(int(4 * GB)),
    Machine["laptop-16gb"]: Room(int(12 * GB)),
    Machine["h100-80gb"]: Room(int(76 * GB), int(96 * GB)),
}

Planned = Callable[[str, Precision], MemoryPlan]


def room_of(machine: Machine) -> Room:
    """What a machine gives a program; `this` is the one that plans, its GPU left aside."""
    return Room(total_memory()) if machine is Machine["this"] else _ROOMS[machine]


def lacking(plan: MemoryPlan, room: Room) -> int:
    """Bytes by which a plan is too large; 0 if it fits."""
    if room.host is None:
        return max(0, plan.tier("device") + plan.tier("host") + SPARE - room.memory)
    return max(
        0,
        plan.tier("device") + SPARE - room.memory,
        plan.tier("host") - room.host,
    )


def what_fits(
    planned: Planned, sizes: list[str], precision: Precision, room: Room
) -> tuple[str, Precision] | None:
    """The nested size and number format to use instead: the least loss that there is room for.

    int8 costs less quality than a smaller size does, a smaller size less than int4.

    Args:
        planned: makes the plan of a size in a format.
        sizes: names, the largest first.
        precision: that was asked for.
        room: to fit in.
    """
    for size, one in _candidates(sizes, precision):
        if not lacking(planned(size, one), room):
            return size, one
    return None


def _candidates(sizes: list[str], precision: Precision) -> Iterator[tuple[str, Precision]]:
    formats = _FORMATS[_FORMATS.index(precision) :]
    mild = [one for one in formats if one is precision or one is not Precision.int4]
    for some in (mild, [one for one in formats if one not in mild]):
        for size in sizes:
            for one in some:
                yield size, one


def fit_document(plans: Mapping[str, MemoryPlan], room: Room) -> dict[str, Any]:
    """For JSON: bytes that there are, and by size those that are lacking."""
    return {
        "memory": room.memory,
        "host": room.host,
        "spare": SPARE,
        "lacking": {size: lacking(plan, room) for size, plan in plans.items()},
    }


def fit_lines(
    machine: Machine,
    plans: Mapping[str, MemoryPlan],
    instead: tuple[str, Precision] | None,
    room: Room,
) -> list[str]:
    """For people: a line a size, and what to change where one does not fit."""
    there = bytes_text(room.memory)
    if room.host is not None:
        there += f" and {bytes_text(room.host)} beside"
    lines = [f"{machine.value} gives one program {there}; {bytes_text(SPARE)} go to the program."]
    for size, plan in plans.items():
        short = lacking(plan, room)
        lines.append(f"{size}: {f'{bytes_text(short)} too much' if short else 'fits'}")
    if any(lacking(plan, room) for plan in plans.values()):
        lines.append(_advice(instead))
    return lines


def _advice(instead: tuple[str, Precision] | None) -> str:
    if instead is None:
        return "Nothing fits as it is: take fewer rows (batch), a shorter context, or fewer parts."
    return f"What fits: nested={instead[0]} precision={instead[1].value}"
