import typing
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipelines.boundary import Boundary, codec
from stages.row import F32, U8, Error, Row, light_row


def full_row() -> Row:
    """A row with all its columns."""
    draws = np.random.default_rng(0)
    row = light_row("a/b", ["a/caf\udce9.wav"], ["x.png"], prompt="what \ud800?", extra="{}")
    return row | Row(
        place=3,
        start_s=0.5,
        end_s=None,
        audio_s=2.0,
        clip_paths=["a/caf\udce9.wav"],
        audio_parts=["a"],
        image_parts=[],
        waveforms=[draws.random(7, np.float32), np.zeros(0, np.float32)],
        images=[Image.effect_noise((3, 2), 50).convert("RGB")],
        mels=[draws.random((5, 128), np.float32)],
        pixels=[draws.integers(0, 256, (3, 4, 4), np.uint8)],
        audio_tokens=[torch.randn(3, 8).bfloat16(), torch.randn(2, 8)],
        image_tokens=[],
        token_ids=[2, 5, 262_143],
        embeddings=torch.randn(3, 8),
        doubted=-0.7,
        text="",
        new_tokens=4,
        logprob=None,
        size="full",
        note=None,
        error=Error(stage="mel", message="no"),
    )


def same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    return type(one) is type(other) and bool(one == other)


def test_every_column_of_a_row_comes_back_as_it_was() -> None:
    row = full_row()
    assert set(row) == set(Row.__annotations__)
    (again,) = Boundary().to_rows(Boundary().to_arrow([row]))
    assert same(row, again)


@given(st.lists(st.sets(st.sampled_from(sorted(Row.__annotations__))), max_size=5), st.data())
def test_what_is_absent_stays_absent_and_parts_of_a_table_are_its_rows(
    absent: list[set[str]], data: st.DataObject
) -> None:
    rows: list[Any] = [{k: v for k, v in full_row().items() if k not in names} for names in absent]
    boundary = Boundary()
    table = boundary.to_arrow(rows)
    assert table.schema == boundary.schema
    start = data.draw(st.integers(0, len(rows)))
    assert same(rows[start:], boundary.to_rows(table.slice(start)))
    joined = pa.concat_tables([table, table.slice(start)]).combine_chunks()
    assert same([*rows, *rows[start:]], boundary.to_rows(joined))


def test_no_rows_are_a_table_too() -> None:
    assert Boundary().to_rows(Boundary().to_arrow([])) == []


def test_numbers_of_another_byte_order_are_the_same_numbers() -> None:
    (row,) = Boundary().to_rows(Boundary().to_arrow([Row(waveforms=[np.array([1, 2], ">f4")])]))
    assert row["waveforms"][0].tolist() == [1.0, 2.0]


def test_a_row_without_columns_comes_back_without_any() -> None:
    assert Boundary().to_rows(Boundary().to_arrow([Row(), Row(text="x")])) == [{}, {"text": "x"}]


def test_arrays_come_out_without_a_copy_and_aligned() -> None:
    rows = [Row(mels=[np.ones((3, 128), np.float32)], pixels=[np.ones((3, 2, 2), np.uint8)])] * 2
    table = Boundary().to_arrow(rows)
    with pa.BufferOutputStream() as stream:
        with pa.ipc.new_stream(stream, table.schema) as writer:
            writer.write_table(table)
        received = stream.getvalue()
    low, high = received.address, received.address + received.size
    for row in Boundary().to_rows(pa.ipc.open_stream(received).read_all()):
        for array in (row["mels"][0], row["pixels"][0]):
            assert low <= array.ctypes.data < high
            assert array.ctypes.data % 4 == 0


def test_bfloat16_takes_two_bytes_a_number() -> None:
    wide, narrow = (
        Boundary().to_arrow([Row(embeddings=torch.zeros(64, 64, dtype=dtype))]).nbytes
        for dtype in (torch.float32, torch.bfloat16)
    )
    assert wide - narrow == pytest.approx(64 * 64 * 2, abs=64)


def test_a_stage_of_ones_own_declares_its_columns() -> None:
    row: Any = light_row("a") | {"speaker": "x", "marks": [1.5], "voices": [np.zeros((2, 3), "f4")]}
    with pytest.raises(TypeError, match=r"rows have columns \['marks', 'speaker', 'voices'\] of"):
        Boundary().to_arrow([row])
    boundary = Boundary({"speaker": str | None, "marks": list[float], "voices": list[F32]})
    assert same([row], boundary.to_rows(boundary.to_arrow([row])))


@pytest.mark.parametrize("kind", [dict[str, int], object, list[list[str]], int | str])
def test_a_type_that_cannot_cross_is_refused(kind: Any) -> None:
    with pytest.raises(TypeError, match=r"cannot cross between processes; those of str, int"):
        codec(kind)


@pytest.mark.parametrize("kind", [str, int, float, bool, F32, U8])
def test_a_value_its_list_and_none_can_cross(kind: Any) -> None:
    value = kind("1") if kind in (str, int, float, bool) else np.ones((2, 3), np.float32)
    for one, values in (
        (typing.Optional[kind], [value, None]),  # noqa: UP045  arrays know no |
        (list[kind], [[value], [], None, [value, value]]),
    ):
        way = codec(one)
        assert same(values, way.read(way.write(values)))
