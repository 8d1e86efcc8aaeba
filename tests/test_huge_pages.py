import mmap
import re
from pathlib import Path

import pytest
import torch

from gemma3n.huge_pages import into_huge_pages


def test_what_is_in_huge_pages_is_what_it_was() -> None:
    values = torch.arange(16_000_000, dtype=torch.int32)
    moved = into_huge_pages()
    assert torch.equal(values, torch.arange(16_000_000, dtype=torch.int32))
    rollup = Path("/proc/self/smaps_rollup")
    if moved >= values.nbytes and rollup.is_file():
        huge = re.search(r"AnonHugePages:\s+(\d+) kB", rollup.read_text())
        assert huge is not None
        assert int(huge[1]) * 1024 > values.nbytes / 2


def test_another_system_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(mmap, "MADV_HUGEPAGE", raising=False)
    assert into_huge_pages() == 0
