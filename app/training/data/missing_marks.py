"""Recognises numbers that stand for missing values, such as -999 in a column of areas."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_MARKS = (-1, -9, -99, -999, -9999, -99999, -999999, 99, 999, 9999, 99999, 999999, -32768)
_LEAST, _FEWEST, _MOST = 0.02, 3, 0.5  # the share of the numbers that are the mark, and the smallest number of them
_DISTINCT = 5  # with fewer distinct other numbers, -1 beside 0 and 1 may be a category
_GAP = 0.5  # the distance from the other numbers to the mark is more than this share of their range


def missing_marks(steps_SF: NDArray[np.float64]) -> dict[int, tuple[float, float, float, float]]:
    """Map each feature with a usual mark for missing values far from its other numbers to the mark.

    Returns the mark, its share of the feature's numbers, and the smallest and the largest of the other numbers.
    """
    marks: dict[int, tuple[float, float, float, float]] = {}
    for mark in _MARKS:
        is_mark_SF = steps_SF == mark
        counts_F = is_mark_SF.sum(0)
        least = max(_FEWEST, _LEAST * len(steps_SF))
        for f in np.flatnonzero((counts_F >= least) & (counts_F <= _MOST * len(steps_SF))).tolist():
            others = steps_SF[~is_mark_SF[:, f], f]
            low, high = float(others.min()), float(others.max())
            is_far = max(low - mark, mark - high) > _GAP * (high - low)
            if is_far and len(np.unique(others)) >= _DISTINCT:
                marks[f] = float(mark), float(counts_F[f]) / len(steps_SF), low, high
    return marks
