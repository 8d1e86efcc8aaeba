import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipelines.attempts import Attempts, deadline
from stages.row import Row, light_row

A, B = light_row("a"), light_row("caf\udce9")


@pytest.fixture
def attempts(tmp_path: Path) -> Attempts:
    return Attempts(tmp_path, most=3)


def die(attempts: Attempts, *rows: Row, alone: bool = False) -> None:
    """What a process leaves that dies at rows."""
    with pytest.raises(SystemExit), attempts.touching(rows, alone):
        raise SystemExit


def test_what_is_finished_leaves_no_note(attempts: Attempts, tmp_path: Path) -> None:
    with attempts.touching([A, B]):
        assert attempts.begun([A, B]) == 1
        assert attempts.begun([A]) == 0
    with attempts.touching([A], alone=True):
        assert attempts.begun([A]) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_batch_that_ended_its_process_is_known_to_the_next(
    attempts: Attempts, tmp_path: Path
) -> None:
    die(attempts, A, B)
    after = Attempts(tmp_path, most=3)
    assert after.begun([A, B]) == 1
    assert not after.is_hopeless(A)


@pytest.mark.parametrize("most", [2, 3, 4])
@pytest.mark.parametrize("batch", [[A, B], [B]])
def test_a_row_is_touched_as_often_as_allowed_the_batch_included(
    tmp_path: Path, most: int, batch: list[Row]
) -> None:
    attempts, touched = Attempts(tmp_path, most), 1
    die(attempts, *batch)
    while not attempts.is_hopeless(B):
        die(attempts, B, alone=True)
        touched += 1
    assert touched == most
    assert attempts.is_hopeless(A) == (most == 1)


def test_what_left_is_what_the_process_handed_on_that_came_furthest(attempts: Attempts) -> None:
    assert attempts.left("a") == 0
    for segments in (8, 3):
        attempts.has_left("a", segments)
    assert attempts.left("a") == 8
    assert attempts.left("b") == 0


HANGS = """
import time
from pipelines.attempts import deadline
with deadline(60):
    pass
with deadline(0.2):
    {}
"""


# The second holds the interpreter lock all the time.
@pytest.mark.parametrize("what", ["time.sleep(60)", "9 ** 9 ** 9"])
def test_a_row_that_hangs_ends_its_process_and_shows_where(what: str) -> None:
    command = [sys.executable, "-c", HANGS.format(what)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert "Timeout" in done.stderr
    assert "line 7" in done.stderr


def test_a_row_that_ends_in_time_ends_nothing() -> None:
    command = [sys.executable, "-c", HANGS.format("pass")]
    subprocess.run(command, check=True, timeout=30)


def test_a_deadline_may_be_never() -> None:
    with deadline(math.inf):
        pass


def test_asking_while_another_process_takes_its_note_away(attempts: Attempts) -> None:
    def touch() -> None:
        for _ in range(1000):
            with attempts.touching([A]):
                pass

    with ThreadPoolExecutor(1) as pool:
        touching = pool.submit(touch)
        seen = set()
        while not touching.done():
            seen.add(attempts.begun([A]))
    assert seen == {0, 1}
