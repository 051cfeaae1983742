"""Reads Parquet files as records, in batches of rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from app.training.data.class_names import apply_names, class_names
from app.training.data.files import Record, Selection, Source, check_repeated, first_columns
from app.training.data.float_columns import FloatColumns
from app.training.data.seekable import seekable
from app.training.failures import BadData

_BATCH_ROWS, _BATCH_BYTES = 1024, 1 << 24  # limits for the rows that are decoded at once


def header(source: Source) -> list[str]:
    """Return the names of the columns, from the schema. A repeated name is listed once."""
    with _opened(source) as file:
        return list(dict.fromkeys(_names(file)))


def records(source: Source, selection: Selection) -> Iterator[Record]:
    """Yield every record with the needed columns. Class numbers become class names if the schema contains these.

    Raises BadData, with the row and if possible the column, if a value cannot be read.
    """
    number = 0
    with _opened(source) as file:
        columns = _needed(source, file, selection)
        classes = class_names(file.metadata.metadata or {}, set(columns) - selection.numbers)
        for name, names in classes.items():
            message = f"its numbers are read as the class names of the schema: {', '.join(names[:10])}"
            source.remark("class_names", message, f"column {name!r}", len(names))
        narrow = FloatColumns(source, selection.numbers)
        batches = file.iter_batches(batch_size=_batch_size(file), columns=columns)
        while (batch := _next(source, batches, number)) is not None:
            batch = _first_of_each(batch)
            narrow.add(batch, selection.ignored)
            for values in _values(source, _widened(batch, selection), number, selection.ignored):
                number += 1
                yield apply_names(source, Record(f"row {number}", values), classes)
        narrow.remark()


def _names(file: pq.ParquetFile) -> list[str]:
    """Return the names of the top-level columns."""
    try:
        return [str(name) for name in file.schema_arrow.names]
    except (pa.ArrowException, ValueError):  # a column has an unknown type, but may not be needed
        paths = (file.schema.column(index).path for index in range(len(file.schema)))
        return list(dict.fromkeys(path.split(".")[0] for path in paths))


def _has_readable_types(file: pq.ParquetFile) -> bool:
    """Whether the types of all columns are known, so that all columns can be read."""
    try:
        return file.schema_arrow is not None
    except (pa.ArrowException, ValueError):
        return False


def _needed(source: Source, file: pq.ParquetFile, selection: Selection) -> list[str]:
    """Return the columns to read. Raises BadData if a column that is needed appears more than once."""
    names = _names(file)
    check_repeated(source, names, selection)
    whole = selection.whole and _has_readable_types(file)
    return [name for name in dict.fromkeys(names) if whole or name not in selection.ignored]


def _next(source: Source, batches: Iterator[pa.RecordBatch], before: int) -> Any:
    try:
        return next(batches, None)
    except MemoryError:  # includes pa.ArrowMemoryError; a lack of memory is not a fault of the file
        raise
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        raise source.fault(f"the parquet data cannot be read: {error}", f"after row {before}") from None


def _widened(batch: Any, selection: Selection) -> Any:
    """Convert float32 columns to float64, so that labels and texts such as 0.1 are the same as in other formats.

    A plain conversion would give 0.10000000149011612. The columns in `selection.numbers` remain unchanged.
    """
    for index, field in enumerate(batch.schema):
        if pa.types.is_float32(field.type) and field.name not in selection.numbers:
            batch = batch.set_column(index, field.name, batch.column(index).cast(pa.string()).cast(pa.float64()))
    return batch


def _first_of_each(batch: Any) -> Any:
    """Return the batch without columns whose name already occurs in an earlier column."""
    columns = first_columns(batch.schema.names)
    return batch if len(columns) == batch.num_columns else batch.select(list(columns.values()))


def _values(source: Source, batch: Any, before: int, ignored: frozenset[str]) -> list[dict[str, Any]]:
    """Return the rows of a batch. An ignored column becomes strings or nulls if a value has no equivalent in Python."""
    try:
        rows: list[dict[str, Any]] = batch.to_pylist()
    except (ValueError, TypeError, OverflowError, KeyError) as error:
        if ignored.isdisjoint(batch.schema.names):
            raise _unreadable(source, batch, before, error) from None
        columns = zip(batch.schema.names, batch.columns, strict=True)
        readable = [_readable(column) if name in ignored else column for name, column in columns]
        return _values(source, pa.RecordBatch.from_arrays(readable, batch.schema.names), before, frozenset())
    return rows


def _readable(column: Any) -> Any:
    """Return a column, as strings or nulls if its values have no equivalent in Python."""
    try:
        column.to_pylist()
    except (ValueError, TypeError, OverflowError, KeyError):
        try:
            return column.cast(pa.string())
        except pa.ArrowException:
            return pa.nulls(len(column))
    return column


def _unreadable(source: Source, batch: Any, before: int, batch_error: Exception) -> BadData:
    """Return the error for the first value without an equivalent in Python, such as a time in nanoseconds."""
    for row in range(batch.num_rows):
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            try:
                column[row].as_py()
            except Exception as error:
                return source.fault(f"the value cannot be read: {error}", f"row {before + row + 1}", f"column {name!r}")
    return source.fault(f"the parquet data cannot be read: {batch_error}", f"after row {before}")


def _batch_size(file: pq.ParquetFile) -> int:
    """Return the number of rows to decode at a time, based on the average row size."""
    meta = file.metadata
    size: int = sum(meta.row_group(i).total_byte_size for i in range(meta.num_row_groups))
    fitting: int = _BATCH_BYTES * meta.num_rows // max(1, size)
    return max(1, min(_BATCH_ROWS, fitting))


@contextmanager
def _opened(source: Source) -> Iterator[pq.ParquetFile]:
    with seekable(source) as content:
        try:
            file = pq.ParquetFile(content)
        except MemoryError:
            raise
        except (pa.ArrowException, OSError) as error:
            raise source.fault(f"is not a readable parquet file: {error}") from None
        with file:
            yield file
