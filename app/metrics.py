"""Prometheus metrics with little overhead: values are collected in a list and summed when they are read.

prometheus_client acquires a lock and calls several methods for each value. A request records about fifteen values, so
these calls would noticeably slow down short requests.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter as Multiset
from collections.abc import Iterable
from threading import Lock
from typing import Any, Self

import prometheus_client as library
from prometheus_client.metrics import MetricWrapperBase

MOST_PENDING = 1024  # maximum number of values of a series that are collected before they are summed


class _Pending(list[float]):
    """Values that have not been summed yet. Appending is thread-safe; calling `drain` requires a lock."""

    def drain(self) -> list[float]:
        """Remove and return the current values. Values that are appended during the call stay in the list."""
        count = len(self)
        values = self[:count]
        del self[:count]
        return values


class _Total:
    """The sum of recorded values, with the interface of prometheus_client's `MutexValue`."""

    __slots__ = ("_lock", "_pending", "_total")

    def __init__(self) -> None:
        self._pending, self._total, self._lock = _Pending(), 0.0, Lock()

    def inc(self, amount: float) -> None:
        self._pending.append(amount)
        if len(self._pending) >= MOST_PENDING:
            self.get()

    def set(self, value: float, timestamp: float | None = None) -> None:
        with self._lock:
            self._pending.drain()
            self._total = value

    def get(self) -> float:
        with self._lock:
            self._total += sum(self._pending.drain())
            return self._total

    def get_exemplar(self) -> None:
        return None


class _Labelled(MetricWrapperBase):
    """A metric with labels. Looking up an existing series takes a single dictionary access."""

    def labels(self, *values: Any, **named: Any) -> Self:
        series: Any = self._metrics.get(values)
        return series if series is not None else super().labels(*values, **named)

    def series(self) -> list[tuple[tuple[str, ...], Any]]:
        """Return the labels and the values of all series."""
        return [(tuple(labels), series) for labels, series in list(self._metrics.items())]


class Counter(_Labelled, library.Counter):
    """A counter whose increments are summed when it is read."""

    def _metric_init(self) -> None:
        super()._metric_init()
        self._value: Any = _Total()

    def inc(self, amount: float = 1, exemplar: dict[str, str] | None = None) -> None:
        self._value.inc(amount)

    def totals(self) -> dict[tuple[str, ...], float]:
        """Return the value of each series, by its labels."""
        return {labels: series._value.get() for labels, series in self.series()}


class Gauge(_Labelled, library.Gauge):
    """A gauge whose changes are summed when it is read."""

    def _metric_init(self) -> None:
        super()._metric_init()
        self._value: Any = _Total()

    def inc(self, amount: float = 1) -> None:
        self._value.inc(amount)

    def dec(self, amount: float = 1) -> None:
        self._value.inc(-amount)

    def totals(self) -> dict[tuple[str, ...], float]:
        """Return the value of each series, by its labels."""
        return {labels: series._value.get() for labels, series in self.series()}


class Histogram(_Labelled, library.Histogram):
    """A histogram whose values are sorted into buckets when it is read."""

    def _metric_init(self) -> None:
        super()._metric_init()
        self._observed, self._adding = _Pending(), Lock()

    def observe(self, amount: float, exemplar: dict[str, str] | None = None) -> None:
        self._observed.append(amount)
        if len(self._observed) >= MOST_PENDING:
            self._add_up()

    def totals(self) -> dict[tuple[str, ...], tuple[float, float]]:
        """Return the number and the sum of the values of each series, by its labels."""
        return {labels: series.total() for labels, series in self.series()}

    def total(self) -> tuple[float, float]:
        """Return the number and the sum of the values of one series."""
        self._add_up()
        return sum(bucket.get() for bucket in self._buckets), self._sum.get()

    def _add_up(self) -> None:
        with self._adding:
            observed, bounds = self._observed.drain(), self._upper_bounds
            self._sum.inc(sum(observed))
            for bucket, count in Multiset(bisect_left(bounds, value) for value in observed).items():
                self._buckets[bucket].inc(count)

    def _child_samples(self) -> Iterable[Any]:
        self._add_up()
        return super()._child_samples()
