"""Loops with periods that are multiples of each other wake up together."""

from __future__ import annotations

import asyncio

import pytest

from app.inference import ticks


@pytest.mark.parametrize(
    ("now", "period", "expected"), [(10.0, 0.5, 0.5), (10.1, 0.5, 0.4), (10.1, 0.25, 0.15), (10.49, 0.25, 0.01)]
)
def test_a_tick_ends_at_a_multiple_of_the_period(
    monkeypatch: pytest.MonkeyPatch, now: float, period: float, expected: float
) -> None:
    sleeps: list[float] = []

    async def sleep(seconds: float) -> None:
        sleeps.append(seconds)

    monkeypatch.setattr(ticks.time, "monotonic", lambda: now)
    monkeypatch.setattr(ticks.asyncio, "sleep", sleep)
    asyncio.run(ticks.tick(period))
    assert sleeps == [pytest.approx(expected)]
