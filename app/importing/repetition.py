"""Finds entries of a list that occur more than once."""

from __future__ import annotations

from collections.abc import Hashable, Sequence


def first_repeated(entries: Sequence[Hashable]) -> tuple[int, int] | None:
    """Return the indices of the first entry that is equal to an earlier one: (earlier, later). None if all differ."""
    places: dict[Hashable, int] = {}
    for index, entry in enumerate(entries):
        if (earlier := places.setdefault(entry, index)) != index:
            return earlier, index
    return None
