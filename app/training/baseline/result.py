"""The result of fitting a baseline."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Predictions:
    """A baseline's predictions for the rows `rows_N` of a split, encoded like `Rows.targets_N`."""

    rows_N: NDArray[np.int64]
    predicted_N: NDArray[Any]


@dataclass(frozen=True, slots=True)
class Fitted:
    """A fitted baseline: its report, as JSON values, and a linear model's predictions for each held-out split.

    If there is no baseline, the report contains only a `reason`.
    """

    report: dict[str, Any]
    predictions: dict[str, Predictions] = field(default_factory=dict)

    @property
    def reason(self) -> str:
        """The reason why there is no baseline; empty if there is one."""
        return str(self.report.get("reason", ""))
