"""A parquet table -> its rows, without the bytes of the files in its cells."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, BinaryIO

from gemma3n.errors import InputError
from stages.parquet_cells import cell_address

if TYPE_CHECKING:
    import pyarrow as pa

_AT_ONCE = 512  # rows


@dataclass(frozen=True)
class Cell:
    """A file in a cell."""

    address: str
    name: str  # what the cell says that its file is called; may be empty

    def __str__(self) -> str:
        return self.name


def parquet_rows(
    path: str, file: BinaryIO, check_columns: Callable[[Collection[str]], None]
) -> Iterator[tuple[int, dict[str, Any] | InputError]]:
    """Every row, with a `Cell` or a list of them where it holds files, without what is null.

    Args:
        path: what the addresses of cells lead to.
        file: the same, open.
        check_columns: is asked about their names.

    Raises:
        InputError: it cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(file, pre_buffer=False, buffer_size=2**20)
        columns = table.schema_arrow
        check_columns(columns.names)
        cells = {column.name: column.type for column in columns if _holds_files(column.type)}
        number = 0
        for batch in table.iter_batches(_AT_ONCE, columns=_light(table.schema), use_threads=False):
            for row in batch.to_pylist():
                for column, kind in cells.items():
                    row[column] = _cells(path, number, column, kind, row.get(column))
                number += 1
                yield number, {name: value for name, value in row.items() if value is not None}
    except (pa.ArrowException, OSError) as error:
        raise InputError(
            f"'{path}' cannot be read as parquet: {error}. Write it anew, or copy it anew."
        ) from error


def _holds_files(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        kind = kind.value_type
        return pa.types.is_struct(kind) and _holds_files(kind) and kind.get_field_index("path") >= 0
    if pa.types.is_struct(kind):
        at = kind.get_field_index("bytes")
        return at >= 0 and _is_binary(kind.field(at).type)
    return _is_binary(kind)


def _is_binary(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _light(schema: Any) -> list[str]:
    """Columns, and fields of columns, that hold no bytes."""
    leaves = [schema.column(number) for number in range(len(schema))]
    return [
        leaf.path
        for leaf in leaves
        if "BYTE_ARRAY" not in leaf.physical_type or leaf.logical_type.type != "NONE"
    ]


def _cells(path: str, row: int, column: str, kind: "pa.DataType", value: Any) -> Any:
    """The files of one cell, of which only the names have been read."""
    import pyarrow as pa

    def cell(element: int, name: str | None) -> Cell:
        name = PurePath(name or "").name
        return Cell(cell_address(path, row, element, column, name), name)

    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return value and [cell(number, one and one["path"]) for number, one in enumerate(value)]
    if pa.types.is_struct(kind) and kind.get_field_index("path") >= 0:
        return value and cell(0, value["path"])
    return cell(0, None)  # whether there is one shows when it is read
