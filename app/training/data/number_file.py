"""Stores arrays on disk. Rows are appended to a file, which is then mapped into memory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

_BUFFER = 1 << 20  # bytes; smaller arrays are collected up to this size and written together


class NumberFile:
    """Writes an array to a new file row by row. `row` is the shape of a row: () for a one-dimensional array.

    The file is open only during a call, so an abandoned NumberFile does not leak a file descriptor.
    """

    def __init__(self, path: Path, dtype: DTypeLike, *row: int) -> None:
        self.path, self._dtype, self._row = path, np.dtype(dtype), row
        self._buffer = bytearray()
        self.rows = 0
        path.write_bytes(b"")

    def append(self, numbers: Any) -> None:
        """Append one or more rows."""
        array = np.ascontiguousarray(numbers, dtype=self._dtype).reshape(-1, *self._row)
        self.rows += len(array)
        if array.nbytes > _BUFFER:
            self._write()
            self._write(array.data.cast("B"))
        elif array.size:
            self._buffer += array.data.cast("B")
            if len(self._buffer) > _BUFFER:
                self._write()

    def close(self) -> NDArray[Any]:
        """Write the buffered rows, sync the file to disk, and return all rows, read-only. May be called repeatedly."""
        self._write()
        with self.path.open("rb") as file:
            os.fsync(file.fileno())
        return map_file(self.path, self._dtype, (self.rows, *self._row))

    def _write(self, numbers: memoryview | None = None) -> None:
        """Write `numbers` to the file. Without `numbers`, writes out and empties the buffer."""
        data = self._buffer if numbers is None else numbers
        if data:
            with self.path.open("ab") as file:
                file.write(data)
        if numbers is None:
            self._buffer = bytearray()


def map_file(path: Path, dtype: DTypeLike, shape: tuple[int, ...]) -> NDArray[Any]:
    """Map the array in a file into memory, read-only."""
    if 0 in shape:  # an empty file cannot be mapped
        return np.zeros(shape, dtype)
    return np.asarray(np.memmap(path, dtype, "r", shape=shape))
