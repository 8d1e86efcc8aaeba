"""Assembly gives the same items however often, and with whatever end, parts were merged."""

import json
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.assemble import assemble
from pipelines.committed import part_files
from pipelines.compact import compact
from stages.write import PARTS, Format, part_schema

ITEMS = 3


def row(item: int, segment: int, text: str | None, last: bool = True) -> dict[str, Any]:
    error = {"error_stage": "read", "error_message": "broken"} if text is None else {}
    key = {"item": f"i{item}", "segment": segment, "place": item, "last": last}
    return {**key, "text": text, **error}


def commit(folder: Path, number: int, rows: list[dict[str, Any]]) -> None:
    (folder / PARTS).mkdir(exist_ok=True)
    name = f"part-{number:020d}-{number:08x}.parquet"
    pq.write_table(pa.Table.from_pylist(rows, part_schema()), folder / PARTS / name)


def assembled(folder: Path) -> tuple[str, str]:
    assemble(folder, [Format.jsonl])
    return (folder / "results.jsonl").read_text(), (folder / "failures.jsonl").read_text()


def texts(folder: Path) -> list[str]:
    return [json.loads(line)["text"] for line in assembled(folder)[0].splitlines()]


def names(folder: Path) -> list[str]:
    return [part.name for part in part_files(folder)]


def rows_of(folder: Path) -> list[int]:
    return [pq.ParquetFile(part).metadata.num_rows for part in part_files(folder)]


def test_parts_become_one_with_their_rows_in_order(tmp_path: Path) -> None:
    for number in range(5):
        commit(tmp_path, number, [row(number, 0, str(number)), row(0, 0, f"last {number}")])
    before = assembled(tmp_path)
    assert compact(tmp_path) == 5
    (part,) = part_files(tmp_path)
    assert pq.ParquetFile(part).read()["text"].to_pylist() == [
        text for number in range(5) for text in (str(number), f"last {number}")
    ]
    assert assembled(tmp_path) == before
    assert texts(tmp_path)[0] == "last 4"
    assert compact(tmp_path) == 0


def test_the_newest_parts_may_be_kept_as_they_are(tmp_path: Path) -> None:
    for number in range(5):
        commit(tmp_path, number, [row(number, 0, "x")])
    before = names(tmp_path)
    assert compact(tmp_path, keep=2) == 3
    assert rows_of(tmp_path) == [3, 1, 1]
    assert names(tmp_path)[1:] == before[3:]
    assert compact(tmp_path, keep=9) == 0


def test_a_merged_part_has_its_place_between_those_it_replaces_and_what_follows(
    tmp_path: Path,
) -> None:
    for number in range(4):
        commit(tmp_path, number, [row(0, 0, str(number))])
    before = names(tmp_path)
    for keep in (2, 1):  # the second merges what is merged already
        compact(tmp_path, keep=keep)
        merged, *others = names(tmp_path)
        assert before[-keep - 1] < merged < before[-keep]
        assert others == before[-keep:]
        assert texts(tmp_path) == ["3"]


def test_parts_grow_no_larger_than_is_good_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.compact._LARGE", 6)
    monkeypatch.setattr("pipelines.compact._GROUP", 2)
    for number, size in enumerate((2, 2, 6, 2, 2, 2, 9, 1)):
        commit(tmp_path, number, [row(number, n, "x", last=n == size - 1) for n in range(size)])
    before = assembled(tmp_path)
    assert compact(tmp_path) == 4
    assert rows_of(tmp_path) == [4, 6, 4, 2, 9, 1]
    file = pq.ParquetFile(part_files(tmp_path)[0])
    assert [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)] == [2, 2]
    assert assembled(tmp_path) == before


def test_a_part_that_cannot_be_read_stays(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for number in range(5):
        commit(tmp_path, number, [row(number, 0, "x")])
    broken = part_files(tmp_path)[2]
    broken.write_bytes(b"broken")
    assert compact(tmp_path) == 4
    assert caplog.messages == [f"4 parts merged in {tmp_path}"]
    assert [name == broken.name for name in names(tmp_path)] == [False, True, False]
    assert texts(tmp_path) == ["x"] * 4


class Crash(BaseException):
    """Ends everything, at once."""


@contextmanager
def crash_after(changes: int) -> Iterator[None]:
    """The power goes before the next change of a folder after so many."""
    left = changes
    real_unlink, real_replace = Path.unlink, Path.replace

    def count() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Crash

    def unlink(path: Path, missing_ok: bool = False) -> None:
        count()
        real_unlink(path, missing_ok)

    def replace(path: Path, target: Path) -> Path:
        count()
        return real_replace(path, target)

    with (
        patch.object(Path, "unlink", unlink),
        patch.object(Path, "replace", replace),
        suppress(Crash),
    ):
        yield


@pytest.mark.parametrize("changes", range(8))
def test_nothing_is_lost_and_nothing_changes_whenever_it_ends(tmp_path: Path, changes: int) -> None:
    for number, text in enumerate(("old", None, "new", None)):
        commit(tmp_path, number, [row(0, 0, text), row(1, 0, None), row(2 + number, 0, "x")])
    before = assembled(tmp_path)
    with crash_after(changes):
        compact(tmp_path)
    assert assembled(tmp_path) == before
    assert json.loads(before[0].splitlines()[0])["text"] == "new"
    compact(tmp_path)
    assert assembled(tmp_path) == before
    assert len(part_files(tmp_path)) == 1


ROWS = st.builds(
    row,
    st.integers(0, ITEMS - 1),
    st.integers(0, 2),
    st.sampled_from([None, "a", "b", "c"]),
    st.booleans(),
)
COMMITS = st.lists(ROWS, max_size=3)
COMPACTIONS = st.tuples(st.integers(0, 2), st.none() | st.integers(0, 6))  # kept, until it ends


@given(st.lists(COMMITS | COMPACTIONS, max_size=12))
def test_assembled_items_are_those_that_the_rules_give(
    steps: list[list[dict[str, Any]] | tuple[int, int | None]],
) -> None:
    chosen: dict[tuple[str, int], dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, step in enumerate(steps):
            if isinstance(step, list):
                commit(folder, number, step)
                for new in step:
                    before = chosen.get((new["item"], new["segment"]))
                    if before is None or new["text"] is not None or before["text"] is None:
                        chosen[new["item"], new["segment"]] = new
                continue
            keep, changes = step
            with crash_after(10**9 if changes is None else changes):
                compact(folder, keep)
        assemble(folder, [Format.jsonl])
        lines = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    assert [(line["item"], line["text"], line["error"] is not None) for line in lines] == (
        list(expected(chosen))
    )


def expected(
    chosen: dict[tuple[str, int], dict[str, Any]],
) -> Iterator[tuple[str, str | None, bool]]:
    """Said again, slowly: item, text, whether a segment failed."""
    for item in (f"i{n}" for n in range(ITEMS)):
        rows = {segment: chosen[item, segment] for segment in range(3) if (item, segment) in chosen}
        unbroken = [rows[n] for n in range(len(rows)) if all(m in rows for m in range(n + 1))]
        if not any(row["last"] for row in unbroken):
            continue
        said = [rows[n]["text"] for n in sorted(rows)]
        good = [text for text in said if text is not None]
        yield item, " ".join(good) if good else None, None in said
