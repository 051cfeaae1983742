"""Features of numeric sequences: statistics over all steps, and the means of segments of equal length."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from app.training.prepare.dataset import Rows

SEGMENTS = 8
_STATISTICS = 6


def columns(features: int) -> int:
    """Return the number of columns that `pooled` computes from steps with `features` numbers each."""
    return (_STATISTICS + SEGMENTS) * features + 1


def pooled(rows: Rows, chosen_N: NDArray[np.int64]) -> NDArray[np.float64]:
    """Compute the features of the given rows. The result has one row per sequence.

    The columns are the mean, the standard deviation, the minimum, the maximum, the first and last steps, the means of
    SEGMENTS segments, and the logarithm of the number of steps.
    """
    return np.stack([_row(rows.row(int(row)).astype(np.float64)) for row in chosen_N])


def _row(steps_SF: NDArray[np.float64]) -> NDArray[np.float64]:
    edges = np.linspace(0, len(steps_SF), SEGMENTS + 1)
    segments = [steps_SF[int(low) : max(int(low) + 1, int(high))].mean(0) for low, high in itertools.pairwise(edges)]
    statistics = [
        steps_SF.mean(0), steps_SF.std(0), steps_SF.min(0), steps_SF.max(0), steps_SF[0], steps_SF[-1], *segments,
    ]  # fmt: skip
    return np.concatenate([*statistics, [np.log(len(steps_SF))]])
