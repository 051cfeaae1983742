"""Computes how long to wait before restarting a crashed program."""

from __future__ import annotations

FIRST = 0.1  # seconds; the first restart is quick, because most crashes do not repeat
LONGEST = 15.0  # seconds
STEADY = 20.0  # seconds of uptime after which earlier crashes no longer count


def count_crashes(previous: int, uptime: float) -> int:
    """Return the number of consecutive crashes, including the current one, which occurred after `uptime` seconds."""
    return 1 if uptime >= STEADY else previous + 1


def delay(crashes: int) -> float:
    """Return the number of seconds to wait before the next start: doubled with each crash, up to `LONGEST`."""
    return min(LONGEST, FIRST * 2.0 ** min(crashes - 1, 16))
