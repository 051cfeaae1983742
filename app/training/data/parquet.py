"""Parquet as records, some rows at a time. Knows Arrow; knows no column's meaning."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from app.training.data.files import Record, Source, unpacking
from app.training.failures import BadData

_ROWS, _BYTES = 1024, 1 << 24  # at once
_PLAIN_BYTES = 1 << 36  # the largest file that is unpacked, if half the room on the disk suffices


def header(source: Source) -> list[str]:
    with _opened(source) as file:
        return [str(name) for name in file.schema_arrow.names]


def records(source: Source) -> Iterator[Record]:
    number = 0
    with _opened(source) as file:
        batches = file.iter_batches(batch_size=_rows_at_once(file))
        while (batch := _next(source, batches, number)) is not None:
            for values in _values(source, batch, number):
                number += 1
                yield Record(f"row {number}", values)


def _next(source: Source, batches: Iterator[pa.RecordBatch], before: int) -> Any:
    try:
        return next(batches, None)
    except MemoryError:
        raise
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        raise source.fault(f"unreadable parquet: {error}", f"after row {before}") from None


def _values(source: Source, batch: Any, before: int) -> list[dict[str, Any]]:
    try:
        rows: list[dict[str, Any]] = batch.to_pylist()
    except (ValueError, TypeError, OverflowError, KeyError) as error:
        raise _unreadable(source, batch, before, error) from None
    return rows


def _unreadable(source: Source, batch: Any, before: int, whole: Exception) -> BadData:
    """Which value it is that Python cannot have, like a time in nanoseconds."""
    for row in range(batch.num_rows):
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            try:
                column[row].as_py()
            except Exception as error:
                return source.fault(f"unreadable value: {error}", f"row {before + row + 1}", f"column {name!r}")
    return source.fault(f"unreadable parquet: {whole}", f"after row {before}")


def _rows_at_once(file: pq.ParquetFile) -> int:
    meta = file.metadata
    size: int = sum(meta.row_group(i).total_byte_size for i in range(meta.num_row_groups))
    fitting: int = _BYTES * meta.num_rows // max(1, size)
    return max(1, min(_ROWS, fitting))


@contextmanager
def _opened(source: Source) -> Iterator[pq.ParquetFile]:
    with _plain(source) as plain:
        try:
            file = pq.ParquetFile(plain)
        except MemoryError:
            raise
        except (pa.ArrowException, OSError) as error:
            raise source.fault(f"is no readable parquet file: {error}") from None
        with file:
            yield file


@contextmanager
def _plain(source: Source) -> Iterator[Path | IO[bytes]]:
    """Parquet needs random access: a packed one goes to a file beside it, which has no name and so ends with us."""
    if not source.gzip:
        yield source.path
        return
    with tempfile.TemporaryFile(dir=source.path.parent) as plain:
        most = min(_PLAIN_BYTES, shutil.disk_usage(source.path.parent).free // 2)
        with unpacking(source), source.open() as file:
            while block := file.read(1 << 20):
                if plain.tell() + len(block) > most:
                    raise source.fault(f"has more than {most:,} bytes when unpacked, for which there is no room here")
                plain.write(block)
        yield plain
