"""Warns about columns of float32 or float16 numbers that have probably lost digits before they were written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from app.training.data.files import Source

_FEW = 1000  # a column loses digits if its type has fewer values than this between the column's minimum and maximum
_STEPS = 2  # a change between successive numbers is inexact if it is at most this many times the spacing of the type
_LISTS = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
_SHARE = 0.1  # a column loses digits if more than this share of its changes are inexact


@dataclass(slots=True)
class _Digits:
    """The range of a feature's numbers, and how many of the changes between successive numbers are inexact."""

    type: np.dtype[Any]
    low: float = np.inf
    high: float = -np.inf
    changes: int = 0
    inexact: int = 0
    is_whole: bool = True

    def add(self, numbers_S: NDArray[Any]) -> None:
        """Add the numbers of S steps to the statistics."""
        numbers_S = numbers_S[np.isfinite(numbers_S)]
        if not len(numbers_S):
            return
        wide_S = numbers_S.astype(np.float64)
        self.low, self.high = min(self.low, wide_S.min()), max(self.high, wide_S.max())
        self.is_whole = self.is_whole and bool((wide_S == np.rint(wide_S)).all())
        change_S = np.abs(np.diff(wide_S))
        spacing_S = _spacing(np.maximum(np.abs(numbers_S[1:]), np.abs(numbers_S[:-1])))
        self.changes += int((change_S > 0).sum())
        self.inexact += int(((change_S > 0) & (change_S <= _STEPS * spacing_S)).sum())

    @property
    def largest(self) -> float:
        return max(abs(self.low), abs(self.high))

    @property
    def spacing(self) -> float:
        """The difference between the largest absolute value and the next smaller number of the same type."""
        return float(_spacing(np.array([self.largest], self.type))[0])

    @property
    def is_lossy(self) -> bool:
        whole = 2.0 ** (np.finfo(self.type).nmant + 1)  # below this, the type contains all whole numbers
        if not np.isfinite(self.low) or (self.is_whole and self.largest <= whole):
            return False
        span = self.high - self.low
        is_narrow = span < _FEW * self.spacing if span else self.largest >= whole
        return is_narrow or self.inexact > _SHARE * self.changes


@dataclass(slots=True)
class FloatColumns:
    """The columns of a Parquet file that contain float32 or float16 numbers, or lists of such numbers.

    Columns of single numbers are examined only if they are in `numbers`, the columns that are read as numbers.
    """

    source: Source
    numbers: frozenset[str]
    _features: dict[tuple[str, int], _Digits] = field(default_factory=dict)

    def add(self, batch: Any, ignored: frozenset[str]) -> None:
        """Add the numbers in a batch of rows to the statistics, except those in `ignored` columns."""
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            is_used = name in self.numbers if pa.types.is_floating(column.type) else name not in ignored
            numbers_SF = _numbers(column) if is_used else None
            for feature, numbers_S in enumerate([] if numbers_SF is None else numbers_SF.T):
                self._features.setdefault((name, feature), _Digits(numbers_S.dtype)).add(numbers_S)

    def remark(self) -> None:
        """Add a remark about each column that has probably lost digits."""
        lossy = {name: digits for (name, _), digits in reversed(self._features.items()) if digits.is_lossy}
        for name, digits in reversed(lossy.items()):
            message = (
                f"its numbers, up to {digits.largest:,.10g}, have the type {digits.type}, which can only represent "
                f"them in steps of {digits.spacing:g}; digits have probably been lost; write the original numbers as a "
                "float64 column"
            )
            self.source.remark("lost_digits", message, f"column {name!r}", level="warn")


def _spacing(numbers_S: NDArray[Any]) -> NDArray[np.float64]:
    """Return the difference between each positive number and the next smaller number of the same type."""
    before_S: NDArray[Any] = np.nextafter(numbers_S, np.zeros_like(numbers_S))
    return numbers_S.astype(np.float64) - before_S.astype(np.float64)


def _numbers(column: Any) -> NDArray[Any] | None:
    """Return the numbers of a column as steps (S, F), or None if they are not float32 or float16.

    The column contains numbers, lists of numbers (one per step), or lists of steps. If its steps differ in length, F is
    1; the rows with such steps are reported as faulty elsewhere.
    """
    width, depth = 1, 0
    while any(is_list(column.type) for is_list in _LISTS):
        lengths = pc.unique(pc.list_value_length(column)).to_pylist()
        width, depth = (lengths[0] or 1) if depth and len(lengths) == 1 else 1, depth + 1
        column = column.flatten()
    if not (pa.types.is_float32(column.type) or pa.types.is_float16(column.type)):
        return None
    numbers: NDArray[Any] = column.drop_null().to_numpy(zero_copy_only=False)
    return numbers.reshape(-1, width if len(numbers) % width == 0 else 1)
