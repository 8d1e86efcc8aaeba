import ctypes
import subprocess
import sys

import pytest

from gemma3n import heap
from gemma3n.heap import give_back

# Holes of 1 MB between pieces that stay, together more than is kept.
HOLES = """
from pathlib import Path
import torch
from gemma3n.heap import give_back

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

torch.empty(1 << 22).fill_(1)  # once so large a piece was freed, smaller ones come from the heap
pieces = [torch.ones(1 << 18) for _ in range(400)]
del pieces[::2]
before = resident()
free = give_back()
if free:
    assert before - resident() > 150e6, (before, resident(), free)
    assert give_back() < free
assert all(float(piece.sum()) == 1 << 18 for piece in pieces)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_is_free_goes_back_to_the_system() -> None:
    subprocess.run([sys.executable, "-c", HOLES], check=True)


def test_little_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    if heap._library() is None:
        pytest.skip("another C library")
    monkeypatch.setattr(heap, "_MUCH", 1 << 60)
    monkeypatch.setattr(heap._library(), "malloc_trim", None)  # would fail
    assert give_back() > 0


def test_a_library_without_such_functions_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    heap._library.cache_clear()
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    assert give_back() == 0
    heap._library.cache_clear()
