"""Delays before restarts."""

from __future__ import annotations

from app.launcher import backoff


def test_pauses_double_up_to_a_limit() -> None:
    assert backoff.delay(1) + 0.05 <= 0.2
    assert [backoff.delay(n) for n in (1, 2, 3)] == [0.1, 0.2, 0.4]
    assert backoff.delay(50) == backoff.LONGEST


def test_crashes_are_forgotten_after_a_steady_run() -> None:
    assert backoff.count_crashes(5, uptime=1.0) == 6
    assert backoff.count_crashes(5, uptime=backoff.STEADY) == 1
