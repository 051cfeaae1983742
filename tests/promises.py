"""Checks time limits in tests, on a machine that may pause for a moment."""

from __future__ import annotations

from collections.abc import Callable

TRIES = 3
# The time limit in seconds for noticing the death of an engine, even if the machine pauses. A silent engine whose
# process exists counts as dead only after ten seconds.
IN_TIME = 8.0


def kept(bound: float, seconds: Callable[[], float]) -> None:
    """Call `seconds` up to three times, until it returns less than `bound`.

    The test passes if the machine pauses once, but fails if the code is always too slow.
    """
    taken: list[float] = []
    while not taken or taken[-1] >= bound:
        assert len(taken) < TRIES, f"took {taken} s; promised are {bound} s"
        taken.append(seconds())
