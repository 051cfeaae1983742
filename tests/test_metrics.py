"""Metrics that sum their values only when they are read have the same output as the library's metrics."""

from __future__ import annotations

import threading
from typing import Any

import prometheus_client as library
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from app import metrics as own

BUCKETS = (0.5, 1.0, 10.0)
values = st.lists(st.floats(0, 100) | st.sampled_from(BUCKETS), max_size=60)


def exposed(kinds: Any, amounts: list[float]) -> bytes:
    """Record the amounts in a counter, a gauge and a histogram. Returns the text that a scraper reads."""
    registry = CollectorRegistry()
    counter = kinds.Counter("c", "", ("a", "b"), registry=registry)
    gauge = kinds.Gauge("g", "", ("a",), registry=registry)
    histogram = kinds.Histogram("h", "", ("a",), registry=registry, buckets=BUCKETS)
    plain = kinds.Counter("p", "", registry=registry)
    for i, amount in enumerate(amounts):
        whole = float(round(amount))  # the order of the additions must not matter
        counter.labels("x", i % 3).inc(whole)
        gauge.labels("x").inc(whole)
        if i % 2:
            gauge.labels("y").dec()
        histogram.labels(a="x").observe(whole)
        plain.inc()
    text = generate_latest(registry)
    return b"\n".join(line for line in text.splitlines() if b"_created" not in line)


@given(values)
def test_the_exposition_is_that_of_the_library(amounts: list[float]) -> None:
    assert exposed(own, amounts) == exposed(library, amounts)


@pytest.mark.parametrize("count", [own.MOST_PENDING - 1, own.MOST_PENDING, 3 * own.MOST_PENDING + 1])
def test_the_number_of_pending_values_is_bounded(count: int) -> None:
    counter, histogram = own.Counter("c", "", registry=None), own.Histogram("h", "", registry=None, buckets=BUCKETS)
    for _ in range(count):
        counter.inc()
        histogram.observe(2.0)
    assert len(counter._value._pending) < own.MOST_PENDING and len(histogram._observed) < own.MOST_PENDING
    assert counter._value.get() == count


def test_no_value_is_lost_between_threads() -> None:
    counter = own.Counter("c", "", registry=None)
    threads = [threading.Thread(target=lambda: [counter.inc() for _ in range(20_000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        counter._value.get()
    assert counter._value.get() == 80_000


def test_a_gauge_that_is_set_forgets_what_was_added() -> None:
    gauge = own.Gauge("g", "", registry=None)
    gauge.inc(3)
    gauge.set(10)
    gauge.dec()
    assert gauge._value.get() == 9
