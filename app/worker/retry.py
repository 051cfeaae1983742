"""How long to wait before something that has failed is tried again."""

from __future__ import annotations

FIRST_DELAY, LONGEST_DELAY = 0.5, 60.0  # seconds


def delay(failures: int) -> float:
    """The seconds to wait after `failures` earlier failures: doubled each time, up to a minute."""
    return min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(failures, 16))
