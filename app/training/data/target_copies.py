"""Warns about features that are equal to the value to predict in every row, and thus give the answer away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from app.training.data.example import Example
from app.training.data.layouts import Layout
from app.training.data.outliers import FEWEST
from app.training.data.usual_names import quoted


@dataclass(slots=True)
class TargetCopies:
    """The features that are equal to the target in all rows so far. Rows with several steps are never equal."""

    _is_equal_F: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    _rows: int = 0

    def add(self, steps_TF: NDArray[np.float64], example: Example, task: str) -> None:
        """Take a row into account. All rows have the same number of features."""
        if not self._rows:
            self._is_equal_F = np.ones(steps_TF.shape[1], np.bool_)
        self._rows += 1
        if self._is_equal_F.any():
            target = example.value if task == "regression" else _number(example.labels)
            self._is_equal_F = self._is_equal_F & (len(steps_TF) == 1) & (steps_TF[0] == target)

    def remark(self, layout: Layout) -> None:
        """Warn about the features that are equal to the target in every row."""
        if self._rows < FEWEST or not self._is_equal_F.any():
            return
        copies = np.flatnonzero(self._is_equal_F).tolist()
        shown = quoted(layout.steps[f] for f in copies) if layout.steps else f"feature {copies[0] + 1}"
        key = "value" if layout.task == "regression" else "label"
        message = (
            f"has features that give the answer away: in every row, {shown} has the same number as the "
            f"{layout.place_of(key)}, which is to be predicted, so the model only has to copy it; list the other "
            "features in columns.features, unless this number is known whenever the model is used"
        )
        layout.source.remark("target_copies", message, level="warn")


def _number(labels: Sequence[str]) -> float:
    """Return the number in a single label, or NaN."""
    try:
        return float(labels[0]) if len(labels) == 1 else np.nan
    except ValueError:
        return np.nan
