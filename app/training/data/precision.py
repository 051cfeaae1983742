"""Finds numbers that lose too much precision: features in float32, and values to predict in float64."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

_WHOLE = 2.0**53  # above this, float64 cannot represent every whole number
_OFF = 0.1  # a change between steps counts as lost if its relative error is larger than this
_SHARE = 0.1  # a warning is issued for a feature that loses more than this share of its changes
_COARSE = 1e-3  # values are too coarse if adjacent float64 numbers differ by more than this share of their range
_BLOCK = 4096  # the number of steps that are counted together


def rounded_values(values_N: NDArray[np.float64]) -> str:
    """Return a sentence about values to predict that differ too little for float64, or "" if they differ enough."""
    largest = float(np.abs(values_N).max(initial=0.0))
    spacing = float(np.spacing(largest))
    if not largest or spacing <= _COARSE * float(np.ptp(values_N)):
        return ""
    if (values_N == values_N[0]).all() and largest < _WHOLE:
        return ""
    return (
        f"the values to predict, up to {largest:.3g}, are rounded to multiples of {spacing:g} in float64; this "
        "rounding is large compared with their differences; subtract a constant from them"
    )


@dataclass(slots=True)
class Precision:
    """Counts how often each feature changes between adjacent steps, and how often float32 distorts the change."""

    changes_F: NDArray[np.int64]
    lost_F: NDArray[np.int64]
    largest_F: NDArray[np.float64]
    sum_F: NDArray[np.float64]  # the sum of the rows' differences from `origin_F`
    origin_F: NDArray[np.float64] | None = None
    steps: int = 0
    waiting: list[NDArray[np.float64]] = field(default_factory=list)  # rows that are not counted yet
    waiting_steps: int = 0

    @classmethod
    def of(cls, width: int) -> Precision:
        """Return the counts for `width` features, which are all 0 at first."""
        return cls(np.zeros(width, np.int64), np.zeros(width, np.int64), np.zeros(width), np.zeros(width))

    def add_row(self, steps_TF: NDArray[np.float64]) -> None:
        """Count the changes in the steps of the next row, standardised with the mean of the rows so far."""
        self.waiting.append(steps_TF)
        self.waiting_steps += len(steps_TF)
        if self.waiting_steps >= _BLOCK:
            self._add_waiting()

    def _add_waiting(self) -> None:
        if not self.waiting:
            return
        steps_SF = np.concatenate(self.waiting)
        self.waiting, self.waiting_steps = [steps_SF[-1:]], 1  # the next change begins with this step
        self.origin_F = steps_SF[0] if self.origin_F is None else self.origin_F
        self.sum_F, self.steps = self.sum_F + (steps_SF - self.origin_F).sum(0), self.steps + len(steps_SF)
        centred_SF = (steps_SF - self.origin_F) - self.sum_F / self.steps
        self.add(steps_SF, centred_SF.astype(np.float32), None)

    def add(
        self, steps_SF: NDArray[np.float64], scaled_SF: NDArray[np.float32], scaling: dict[str, Any] | None
    ) -> None:
        """Count the changes in a block of steps. `scaled_SF` contains the same steps, as the network reads them."""
        if not len(steps_SF):
            return
        std_F = np.asarray(scaling["std"] if scaling else 1.0, np.float64)
        exact_SF = np.diff(steps_SF, axis=0) / std_F
        error_SF = np.abs(np.diff(scaled_SF.astype(np.float64), axis=0) - exact_SF)
        self.changes_F += (exact_SF != 0).sum(0)
        self.lost_F += (error_SF > _OFF * np.abs(exact_SF)).sum(0)
        self.largest_F = np.maximum(self.largest_F, np.abs(steps_SF).max(0))

    def warnings(self, names: Sequence[str] = ()) -> list[str]:
        """Return a sentence about each feature whose numbers lose too much precision.

        `names` are the names of the features' columns. Without names, features are counted from 1.
        """
        self._add_waiting()
        shown = [repr(name) for name in names] or range(1, len(self.changes_F) + 1)
        return [
            f"feature {name} {reason}; subtract a constant from it, or split it into several columns"
            for number, name in enumerate(shown)
            if (reason := self._reason(number))
        ]

    def _reason(self, number: int) -> str:
        if self.largest_F[number] >= _WHOLE:
            spacing = np.spacing(self.largest_F[number])
            return f"has values up to {self.largest_F[number]:.3g}, which are rounded to multiples of {spacing:g}"
        if self.lost_F[number] > _SHARE * self.changes_F[number]:
            share = self.lost_F[number] / self.changes_F[number]
            return f"loses {share:.0%} of its changes between steps, which are very small relative to its range"
        return ""
