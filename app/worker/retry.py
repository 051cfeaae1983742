"""Delays between retries."""

from __future__ import annotations

FIRST_DELAY, LONGEST_DELAY = 0.5, 60.0  # in seconds


def delay(failures: int) -> float:
    """Return the delay in seconds after `failures` consecutive failures: doubled each time, up to one minute."""
    return min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(failures, 16))
