"""Limits the work of a baseline, so that it stays small compared with that of the training run.

The limits follow from counts of rows, bytes and labels, never from a timing: equal inputs give equal figures. The unit
of work takes about one microsecond on one core; `docs/log.md` contains the measurements.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WORK = 30_000_000
PER_SECOND = 100_000  # with `max_seconds`, a tenth of this time
MOST_LABELS = 1000
MOST_WEIGHTS = 25_000_000  # columns times labels, for memory
MOST_BYTES = 5_000_000  # of texts to fit a linear model to, for memory
HELD_OUT_BYTES = 4_000_000  # of texts per split on which a baseline is measured
HELD_OUT_CHARACTERS = 2_000_000  # of a held-out text on which an n-gram model is measured
_FEWEST_CHARACTERS = 10_000
_START_SECONDS = 3.0  # the program's start
TEXT_CHARACTERS = 5_000_000  # of a text from which n-grams are counted, for memory


@dataclass(frozen=True, slots=True)
class BaselineLimits:
    """The limits of one baseline: units of `work`, and the `seed` that chooses rows if there are too many."""

    work: int = WORK
    seed: int = 0

    def train_rows(self, sizes_N: NDArray[np.int64], labels: int) -> NDArray[np.int64]:
        """The rows to fit a linear model to, in order: all rows, or a random choice of them within the limits.

        `sizes_N` is the size of each row: the bytes of a text, or the number of pooled statistics.
        """
        most = min(MOST_BYTES, int(self.work / (2 + labels / 4)))
        return self._chosen(sizes_N, most)

    def held_out_rows(self, sizes_N: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rows of a held-out split on which to measure: all rows, or a random choice of them."""
        return self._chosen(sizes_N, HELD_OUT_BYTES)

    def columns(self, labels: int) -> int:
        """The maximum number of columns of a linear model with this number of labels."""
        return MOST_WEIGHTS // max(1, labels)

    def characters(self, orders: int) -> int:
        """The number of characters from which to count n-grams of this many orders."""
        return min(TEXT_CHARACTERS, max(_FEWEST_CHARACTERS, self.work // orders))

    def seconds(self, train_bytes: int, held_out_bytes: int, labels: int) -> float:
        """About how long a linear model takes on one core, for texts of these sizes."""
        fitted = min(train_bytes, MOST_BYTES, int(self.work / (2 + labels / 4)))
        return _START_SECONDS + (fitted * (2 + labels / 4) + 2 * min(held_out_bytes, 2 * HELD_OUT_BYTES)) / 1e6

    def _chosen(self, sizes_N: NDArray[np.int64], most: int) -> NDArray[np.int64]:
        if sizes_N.sum() <= most:
            return np.arange(len(sizes_N))
        order_N = np.random.default_rng(self.seed).permutation(len(sizes_N))
        count = max(1, int(np.searchsorted(np.cumsum(sizes_N[order_N]), most)))
        return np.sort(order_N[:count])


def derive_limits(seed: int, max_seconds: float | None) -> BaselineLimits:
    """The limits for a request; `max_seconds` is the limit that it sets for the training."""
    return BaselineLimits(WORK if max_seconds is None else min(WORK, int(max_seconds * PER_SECOND)), seed)
