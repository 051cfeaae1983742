"""Checks guaranteed times on a machine that may stall briefly."""

from __future__ import annotations

from collections.abc import Callable

TRIES = 3
# seconds within which the death of an engine must be noticed even if the machine stalls; an engine that is silent while
# its process exists counts as dead only after ten
IN_TIME = 8.0


def kept(bound: float, seconds: Callable[[], float]) -> None:
    """Call `seconds` until it returns less than `bound`, three times at most.

    A single stall of the machine does not fail the test, but code that is too slow always fails.
    """
    taken: list[float] = []
    while not taken or taken[-1] >= bound:
        assert len(taken) < TRIES, f"took {taken} s; promised are {bound} s"
        taken.append(seconds())
