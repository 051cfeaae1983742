"""Limits the time spent on fitting a baseline, so that it remains small compared with the training run.

The limits depend only on the numbers of rows, bytes and labels and on the options of the run, never on measured time,
so that the same data and options always give the same metrics. One unit of work takes about one microsecond on one core
(see `docs/log.md` for the measurements).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WORK = 30_000_000
PER_SECOND = 100_000  # units of work per second of `max_seconds`; the work takes about a tenth of that time
MOST_LABELS = 1000
MOST_WEIGHTS = 25_000_000  # columns times labels; limits memory
MOST_BYTES = 5_000_000  # maximum size of the texts that a linear model is fitted to; limits memory
HELD_OUT_BYTES = 4_000_000  # maximum size of the texts of one held-out split that a linear model is measured on
HELD_OUT_CHARACTERS = 2_000_000  # an n-gram model is measured on the start of a held-out text, up to this length
_FEWEST_CHARACTERS = 10_000
_START_SECONDS = 3.0  # the time that the program takes to start
TEXT_CHARACTERS = 5_000_000  # n-grams are counted in the end of a training text, up to this length; limits memory


@dataclass(frozen=True, slots=True)
class BaselineLimits:
    """The limits of one baseline. `work` is in units of work; `seed` selects the rows to use if there are too many."""

    work: int = WORK
    seed: int = 0

    def train_rows(self, sizes_N: NDArray[np.int64], labels: int) -> NDArray[np.int64]:
        """Return the rows to fit a linear model to, in order: all rows, or a random sample within the limits.

        `sizes_N` is the size of each row: the number of bytes in a text, or the number of pooled statistics.
        """
        most = min(MOST_BYTES, int(self.work / (2 + labels / 4)))
        return self._chosen(sizes_N, most)

    def held_out_rows(self, sizes_N: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the held-out rows to measure a baseline on: all rows, or a random sample."""
        return self._chosen(sizes_N, HELD_OUT_BYTES)

    def columns(self, labels: int) -> int:
        """Return the maximum number of columns of a linear model with this number of labels."""
        return MOST_WEIGHTS // max(1, labels)

    def characters(self, orders: int) -> int:
        """Return the maximum number of characters in which n-grams of `orders` different lengths are counted."""
        return min(TEXT_CHARACTERS, max(_FEWEST_CHARACTERS, self.work // orders))

    def seconds(self, train_bytes: int, held_out_bytes: int, labels: int) -> float:
        """Estimate the time to fit and measure a linear model on one core, in seconds, from the sizes of the texts."""
        fitted = min(train_bytes, MOST_BYTES, int(self.work / (2 + labels / 4)))
        return _START_SECONDS + (fitted * (2 + labels / 4) + 2 * min(held_out_bytes, 2 * HELD_OUT_BYTES)) / 1e6

    def _chosen(self, sizes_N: NDArray[np.int64], most: int) -> NDArray[np.int64]:
        if sizes_N.sum() <= most:
            return np.arange(len(sizes_N))
        order_N = np.random.default_rng(self.seed).permutation(len(sizes_N))
        count = max(1, int(np.searchsorted(np.cumsum(sizes_N[order_N]), most)))
        return np.sort(order_N[:count])


def derive_limits(seed: int, max_seconds: float | None) -> BaselineLimits:
    """Return the limits for the baseline of a run. `max_seconds` is the time limit of the run, if any."""
    return BaselineLimits(WORK if max_seconds is None else min(WORK, int(max_seconds * PER_SECOND)), seed)
