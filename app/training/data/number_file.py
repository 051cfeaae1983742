"""Arrays on disk: appended to a file, then mapped into memory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

_BUFFER = 1 << 20  # bytes of small rows that are written together


class NumberFile:
    """A new file that holds an array, which grows by rows of shape `row`; () for a one-dimensional array.

    The file is open only during a call, so an abandoned NumberFile leaks no descriptor.
    """

    def __init__(self, path: Path, dtype: DTypeLike, *row: int) -> None:
        self.path, self._dtype, self._row = path, np.dtype(dtype), row
        self._buffer = bytearray()
        self.rows = 0
        path.write_bytes(b"")

    def append(self, numbers: Any) -> None:
        """Append one row, or several."""
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
        """Write and sync the rest; return all rows, read-only. Calling it again returns the same rows."""
        self._write()
        with self.path.open("rb") as file:
            os.fsync(file.fileno())
        return map_file(self.path, self._dtype, (self.rows, *self._row))

    def _write(self, numbers: memoryview | None = None) -> None:
        """Write `numbers`, or else the buffer."""
        data = self._buffer if numbers is None else numbers
        if data:
            with self.path.open("ab") as file:
                file.write(data)
        if numbers is None:
            self._buffer = bytearray()


def map_file(path: Path, dtype: DTypeLike, shape: tuple[int, ...]) -> NDArray[Any]:
    """The array in a file, read-only and mapped into memory."""
    if 0 in shape:  # an empty file cannot be mapped
        return np.zeros(shape, dtype)
    return np.asarray(np.memmap(path, dtype, "r", shape=shape))
