"""When to start a program again that has ended. Plain arithmetic; no clock, no process."""

from __future__ import annotations

FIRST = 0.1  # seconds: the first restart is quick, since most falls are single
LONGEST = 15.0
STEADY = 20.0  # seconds that a program must have lived for its earlier falls to be forgotten


def falls(before: int, lived: float) -> int:
    """How many falls in a row there have been, when one more comes after `lived` seconds."""
    return 1 if lived >= STEADY else before + 1


def delay(falls_in_a_row: int) -> float:
    """Seconds to wait before the next start."""
    return min(LONGEST, FIRST * 2.0 ** min(falls_in_a_row - 1, 16))
