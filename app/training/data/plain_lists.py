"""Warns about plain lists of numbers that are probably the features of one step, such as area, rooms and year."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from app.training.data.collector import Place
from app.training.data.outliers import FEWEST

_LONGEST = 32  # longer lists are probably sequences
# The means of neighbouring numbers of a sequence seldom differ by more than this many standard deviations.
_FAR = 4.0


@dataclass(slots=True)
class PlainLists:
    """The mean and the variance of each number in lists of the same length, updated by Welford's method."""

    first: Place | None = None
    rows: int = 0
    mean_T: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    squares_T: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    are_even: bool = True  # whether all lists so far have the same, small length

    def add(self, steps_TF: NDArray[np.float64], place: Place) -> None:
        """Take a plain list, given as steps of one feature, into account."""
        numbers_T = steps_TF[:, 0]
        if self.first is None:
            self.first, self.mean_T = place, np.zeros(len(numbers_T))
            self.squares_T = np.zeros(len(numbers_T))
        self.are_even = self.are_even and len(numbers_T) == len(self.mean_T) and 1 < len(numbers_T) <= _LONGEST
        if not self.are_even:
            return
        self.rows += 1
        with np.errstate(all="ignore"):
            distances_T = numbers_T - self.mean_T
            self.mean_T = self.mean_T + distances_T / self.rows
            self.squares_T = self.squares_T + distances_T * (numbers_T - self.mean_T)

    def remark(self) -> None:
        """Warn if neighbouring numbers of the lists differ so much that they are probably different quantities."""
        if self.first is None or not self.are_even or self.rows < FEWEST or not self._differ():
            return
        means = ", ".join(f"{mean:.4g}" for mean in self.mean_T[:5]) + ", …" * (len(self.mean_T) > 5)
        message = (
            f"each row has a plain list of {len(self.mean_T)} numbers, which is read as a sequence of as many steps, "
            f"but these numbers are probably different quantities (their means are {means}); if they are, write each "
            "list as one step: [[1, 2, 3]] instead of [1, 2, 3]"
        )
        self.first.layout.source.remark("unlike_steps", message, self.first.where, self.rows, "warn")

    def _differ(self) -> bool:
        with np.errstate(all="ignore"):
            spread_T = np.sqrt(self.squares_T / self.rows)
            far_T = np.abs(np.diff(self.mean_T)) > _FAR * np.maximum(spread_T[1:], spread_T[:-1])
        return bool(far_T.any())
