"""Numbers on disk: appended to a file, then mapped into memory, where the system keeps what is in use. Knows arrays."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

_BUFFER = 1 << 20  # bytes


class NumberFile:
    """A new file of numbers of one type; `row`: the shape of what is counted, () for plain numbers.

    Between two calls no file is open: whoever gives up leaves nothing behind but a path.
    """

    def __init__(self, path: Path, dtype: DTypeLike, *row: int) -> None:
        self.path, self._dtype, self._row = path, np.dtype(dtype), row
        self._held = bytearray()
        self.rows = 0
        path.write_bytes(b"")

    def append(self, numbers: Any) -> None:
        """One row or several."""
        array = np.ascontiguousarray(numbers, dtype=self._dtype).reshape(-1, *self._row)
        self.rows += len(array)
        if array.nbytes > _BUFFER:
            self._write()
            self._write(array.data.cast("B"))
        elif array.size:
            self._held += array.data.cast("B")
            if len(self._held) > _BUFFER:
                self._write()

    def close(self) -> NDArray[Any]:
        """All rows, read-only. Closing again gives the same."""
        self._write()
        with self.path.open("rb") as file:
            os.fsync(file.fileno())
        return mapped(self.path, self._dtype, (self.rows, *self._row))

    def _write(self, given: memoryview | None = None) -> None:
        data = self._held if given is None else given
        if data:
            with self.path.open("ab") as file:
                file.write(data)
        if given is None:
            self._held = bytearray()


def mapped(path: Path, dtype: DTypeLike, shape: tuple[int, ...]) -> NDArray[Any]:
    if 0 in shape:  # nothing cannot be mapped
        return np.zeros(shape, dtype)
    return np.asarray(np.memmap(path, dtype, "r", shape=shape))
