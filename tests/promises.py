"""Promises in seconds, held against a machine that may stand still for a moment."""

from __future__ import annotations

from collections.abc import Callable

TRIES = 3
# seconds in which the death of an engine must be noticed, wherever the machine stands still: a silent one whose process
# is there counts as dead after ten
IN_TIME = 8.0


def kept(bound: float, seconds: Callable[[], float]) -> None:
    """Do it until it takes less than `bound` seconds, three times at most: code that is too slow never does."""
    taken: list[float] = []
    while not taken or taken[-1] >= bound:
        assert len(taken) < TRIES, f"took {taken} s; promised are {bound} s"
        taken.append(seconds())
