"""Warns about values to predict that are so far from the others that a model would hardly learn the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.training.data.collector import Place
from app.wording import quantity

FAR = 1000  # a value is an outlier if its distance from the median exceeds this many interquartile ranges
FEWEST = 8  # with fewer values, quartiles are not reliable


@dataclass(slots=True)
class Extremes:
    """The smallest and the largest value of a pass over the data, with the places of their first rows."""

    _smallest: tuple[float, Place] | None = None
    _largest: tuple[float, Place] | None = None

    def add(self, value: float, place: Place) -> None:
        """Take a row's value into account."""
        if self._smallest is None or value < self._smallest[0]:
            self._smallest = value, place
        if self._largest is None or value > self._largest[0]:
            self._largest = value, place

    def remark(self, values: Sequence[float]) -> None:
        """Warn if some of the `values` are far from the others."""
        if self._smallest is None or self._largest is None or len(values) < FEWEST:
            return
        values_N = np.asarray(values, dtype=np.float64)
        with np.errstate(all="ignore"):
            low, median, high = np.percentile(values_N, (25, 50, 75))
            distances_N = np.abs(values_N - median)
            count = int((distances_N > FAR * (high - low)).sum()) if high > low else 0
        if not count:
            return
        value, place = max(self._smallest, self._largest, key=lambda extreme: abs(extreme[0] - float(median)))
        more = f"; in total, {quantity(count, 'value')} are this far away" if count > 1 else ""
        message = (
            f"the value {value:g} is far from the others (half of them are between {low:g} and {high:g}){more}; "
            "a single such value can spoil all predictions, so check it"
        )
        column = place.layout.names.get("value", "value")
        place.layout.source.remark("outliers", message, f"{place.where}, column {column!r}", count, "warn")
