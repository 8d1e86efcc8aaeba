from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pipelines.report.compare import differences, labels, pareto

Make = Callable[..., Any]


@given(points=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=12))
def test_a_point_is_on_the_front_unless_another_beats_it(points: list[tuple[int, int]]) -> None:
    front = pareto(points)
    for (x, y), is_on in zip(points, front, strict=True):
        beaten = any(a >= x and b >= y and (a > x or b > y) for a, b in points)
        assert is_on is not beaten
    assert not points or any(front)


def test_runs_are_called_by_what_differs_between_them(
    make_run: Make, result: Make, read: Make
) -> None:
    folders = [
        make_run(
            [result("a")],
            name,
            settings={"nested": {"name": size}, "output": name, "decode": {"top_k": 0}},
        )
        for name, size in (("one", "full"), ("two", "small"))
    ]
    runs = read(*folders)
    differing = differences(runs)
    assert differing == {"nested": ["full", "small"]}
    assert labels(runs, differing) == ["nested=full", "nested=small"]


def test_what_auto_came_to_is_a_difference(make_run: Make, result: Make, read: Make) -> None:
    folders: list[Path] = []
    for name in ("float32", "bfloat16"):
        folders.append(make_run([result("a")], name, settings={"precision": "auto"}))
        (folders[-1] / "fingerprint.json").write_text(f'{{"precision": "{name}"}}')
    runs = read(*folders)
    assert differences(runs) == {"precision (settled)": ["float32", "bfloat16"]}
    assert labels(runs, differences(runs)) == ["float32", "bfloat16"]  # their folders
