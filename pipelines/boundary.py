"""Rows <-> Arrow batches: what crosses from one process to another.

The schema is that of the declared columns, the same for every batch whatever its rows hold, so
that batches can be joined and none of them falls back to pickled objects. Arrays are copied once on
the way in, and not on the way out.
"""

import itertools
import types
import typing
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from gemma3n.errors import SettingsError
from stages.row import F32, U8, Error, Row, Stage

# Names the columns that a row has: one that is None is not absent. No column can be called so.
_PRESENT = "\0columns"
_BFLOAT16 = "bfloat16"  # which numpy has not
_KEPT = "surrogatepass"  # what is no text, as some file names
_ALIGNED = 64  # bytes: arrays begin at a multiple, as vector units like it


class Codec(Protocol):
    """How the values of a column look in Arrow."""

    type: pa.DataType

    def write(self, values: list[Any]) -> pa.Array:
        """Values, None where there is none, to Arrow."""

    def read(self, array: pa.Array) -> list[Any]:
        """The values again."""


class Boundary:
    """Columns that may cross, and how."""

    def __init__(self, own: Mapping[str, Any] | None = None) -> None:
        """Choose a way for each column.

        Args:
            own: columns that a `Row` does not declare, and the types of their values.

        Raises:
            TypeError: a type that has no way across.
        """
        self._codecs = {**_declared(), **{name: codec(kind) for name, kind in (own or {}).items()}}
        fields = {name: one.type for name, one in self._codecs.items()}
        self.schema = pa.schema({_PRESENT: pa.string(), **fields})

    def to_arrow(self, rows: Sequence[Row]) -> pa.Table:
        """Rows to a table of `schema`."""
        if unknown := sorted({name for row in rows for name in row} - self._codecs.keys()):
            raise TypeError(
                f"rows have columns {unknown} of types that nobody declared. Give the stage that "
                "adds them `types`."
            )
        columns = [pa.array([",".join(row) for row in rows], pa.string())]
        for name, one in self._codecs.items():
            columns.append(one.write([row.get(name) for row in rows]))
        return pa.Table.from_arrays(columns, schema=self.schema)

    def to_rows(self, table: pa.Table) -> list[Row]:
        """The rows of a table; their arrays are views of it, and read-only."""
        rows: list[Any] = []
        for batch in table.to_batches():
            values = {name: one.read(batch.column(name)) for name, one in self._codecs.items()}
            for place, present in enumerate(batch.column(_PRESENT).to_pylist()):
                names = present.split(",") if present else []
                rows.append({name: values[name][place] for name in names})
        return rows


def check_columns(stage: type[Stage], settings: Any) -> None:
    """See whether all columns that a stage adds can cross.

    Raises:
        SettingsError: one cannot.
    """
    for name in stage.columns(settings).adds:
        if name not in Row.__annotations__ and name not in stage.types:
            raise SettingsError(
                f"stage {stage.__name__} adds '{name}' and does not say its type, which a column "
                f"needs that crosses between processes. Give it `types = {{{name!r}: float}}`, or "
                "run in one process."
            )
    for name, kind in stage.types.items():
        try:
            codec(kind)
        except TypeError as error:
            raise SettingsError(f"stage {stage.__name__}, column '{name}': {error}") from error


# Types -> codecs


class _Image:
    """Stands for Pillow's, which is not imported for its name alone."""


class _Tensor:
    """Stands for torch's."""


@lru_cache(maxsize=1)
def _declared() -> dict[str, Codec]:
    hints = typing.get_type_hints(Row, localns={"Image": _Image, "Tensor": _Tensor})
    return {name: codec(kind) for name, kind in hints.items()}


def codec(kind: Any) -> Codec:
    """The way across of a column whose values are of a type.

    Raises:
        TypeError: there is none.
    """
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        some = [one for one in typing.get_args(kind) if one is not types.NoneType]
        kind = some[0] if len(some) == 1 else kind
    inner = typing.get_args(kind)[0] if typing.get_origin(kind) is list else None
    if kind in _SCALARS:
        return _Plain(_SCALARS[kind])
    if inner in _SCALARS:
        return _Plain(pa.list_(_SCALARS[inner]))
    if kind is str:
        return _Text()
    if inner is str:
        return _Lists(_Text())
    if kind is Error:
        return _Errors()
    for one in (kind, inner):
        if one in _ARRAYS:
            arrays = _Arrays(one)
            return arrays if one is kind else _Lists(arrays)
    raise TypeError(
        f"values of type {kind} cannot cross between processes; those of str, int, float, bool, "
        "F32 and U8 arrays, and lists of them, can."
    )


_SCALARS = {int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
_ARRAYS = (F32, U8, _Image, _Tensor)


class _Plain:
    """Numbers, and lists of them."""

    def __init__(self, kind: pa.DataType) -> None:
        self.type = kind

    def write(self, values: list[Any]) -> pa.Array:
        return pa.array(values, self.type)

    def read(self, array: pa.Array) -> list[Any]:
        return array.to_pylist()


class _Text:
    """Texts, as bytes: a path may hold what is no text."""

    type = pa.binary()

    def write(self, values: list[Any]) -> pa.Array:
        return pa.array([v if v is None else v.encode(errors=_KEPT) for v in values], self.type)

    def read(self, array: pa.Array) -> list[Any]:
        return [v if v is None else v.decode(errors=_KEPT) for v in array.to_pylist()]


class _Errors:
    """What went wrong: two texts."""

    def __init__(self) -> None:
        self._text = _Text()
        self.type = pa.struct([(name, self._text.type) for name in Error.__annotations__])

    def write(self, values: list[Any]) -> pa.Array:
        parts = [
            self._text.write([value and value[name] for value in values])
            for name in Error.__annotations__
        ]
        mask = pa.array([value is None for value in values], pa.bool_())
        return pa.StructArray.from_arrays(parts, fields=list(self.type), mask=mask)

    def read(self, array: pa.Array) -> list[Any]:
        parts = [self._text.read(array.field(name)) for name in Error.__annotations__]
        there = array.is_valid().to_pylist()
        names = list(Error.__annotations__)
        return [
            dict(zip(names, values, strict=True)) if is_there else None
            for is_there, *values in zip(there, *parts, strict=True)
        ]


class _Lists:
    """Lists of what another codec writes."""

    def __init__(self, inner: Codec) -> None:
        self._inner = inner
        self.type = pa.large_list(inner.type)

    def write(self, values: list[Any]) -> pa.Array:
        flat = self._inner.write([one for value in values for one in value or ()])
        ends = itertools.accumulate((len(value or ()) for value in values), initial=0)
        mask = pa.array([value is None for value in values], pa.bool_())
        offsets = pa.array(ends, pa.int64())
        return pa.LargeListArray.from_arrays(offsets, flat, self.type, mask=mask)

    def read(self, array: pa.Array) -> list[Any]:
        offsets, there = array.offsets.to_numpy(), array.is_valid().to_pylist()
        flat = self._inner.read(array.values.slice(offsets[0], offsets[-1] - offsets[0]))
        ends = (offsets - offsets[0]).tolist()
        return [
            flat[start:end] if is_there else None
            for is_there, (start, end) in zip(there, itertools.pairwise(ends), strict=True)
        ]


class _Arrays:
    """Arrays of any shape, by their bytes; a tensor in bfloat16 keeps its two a number."""

    type = pa.struct(
        [("dtype", pa.string()), ("shape", pa.list_(pa.int64())), ("bytes", pa.large_binary())]
    )

    def __init__(self, kind: Any) -> None:
        self._kind = kind

    def write(self, values: list[Any]) -> pa.Array:
        there = [self._array(value) for value in values if value is not None]
        padded = iter([-(-array.nbytes // _ALIGNED) * _ALIGNED for array, _ in there])
        lengths = [0 if value is None else next(padded) for value in values]
        ends = np.fromiter(itertools.accumulate(lengths, initial=0), np.int64, len(values) + 1)
        data = np.empty(ends[-1], np.uint8)
        arrays = iter(there)
        dtypes: list[str | None] = []
        shapes: list[list[int] | None] = []
        for value, start in zip(values, ends.tolist(), strict=False):
            if value is None:
                dtypes.append(None)
                shapes.append(None)
                continue
            array, dtype = next(arrays)
            to = data[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
            np.copyto(to, array)
            dtypes.append(dtype)
            shapes.append(list(array.shape))
        buffers = [None, pa.py_buffer(ends), pa.py_buffer(data)]
        parts = [
            pa.array(dtypes, pa.string()),
            pa.array(shapes, pa.list_(pa.int64())),
            pa.Array.from_buffers(pa.large_binary(), len(values), buffers),
        ]
        mask = pa.array([value is None for value in values], pa.bool_())
        return pa.StructArray.from_arrays(parts, fields=list(self.type), mask=mask)

    def read(self, array: pa.Array) -> list[Any]:
        dtypes, shapes, data = (array.field(name) for name in ("dtype", "shape", "bytes"))
        _, ends, numbers = data.buffers()
        starts = np.frombuffer(ends, np.int64)[data.offset : data.offset + len(data)].tolist()
        values: list[Any] = []
        for dtype, shape, start in zip(dtypes.to_pylist(), shapes.to_pylist(), starts, strict=True):
            if dtype is None:
                values.append(None)
                continue
            stored = np.dtype(np.uint16 if dtype == _BFLOAT16 else dtype)
            count = int(np.prod(shape, dtype=np.int64))
            flat = np.frombuffer(numbers, stored, count, start) if count else np.empty(0, stored)
            values.append(self._value(flat.reshape(shape), dtype))
        return values

    def _array(self, value: Any) -> tuple[np.ndarray[Any, Any], str]:
        """A value as an array, and the name of its type."""
        if self._kind is not _Tensor:
            array = np.asarray(value)
            array = array.astype(array.dtype.newbyteorder("="), copy=False)
            return array, array.dtype.name
        import torch

        value = value.detach().cpu()
        if value.dtype is torch.bfloat16:
            return value.view(torch.uint16).numpy(), _BFLOAT16
        return value.numpy(), str(value.dtype).removeprefix("torch.")

    def _value(self, array: np.ndarray[Any, Any], dtype: str) -> Any:
        if self._kind is _Image:
            from PIL.Image import fromarray

            return fromarray(array)
        if self._kind is not _Tensor:
            return array
        import torch

        tensor = torch.from_numpy(array)
        return tensor.view(torch.bfloat16) if dtype == _BFLOAT16 else tensor
