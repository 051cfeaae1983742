"""Assigns slots (rows of the state) to running sequences. The slots in use are a dense prefix. Imports no torch."""

from __future__ import annotations

from app.engine.sequence import Sequence


class Slots:
    """`owners[i]` holds slot i. Slots 0 to len(owners) - 1 are in use and the rest are free, without holes.

    A decode step therefore works on a view of the state's first rows, without copying.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.owners: list[Sequence] = []

    @property
    def full(self) -> bool:
        return len(self.owners) >= self.capacity

    def take(self, sequence: Sequence) -> None:
        """Give the first free slot to a sequence."""
        assert not self.full and sequence.slot < 0
        sequence.slot = len(self.owners)
        self.owners.append(sequence)

    def free(self, sequence: Sequence) -> tuple[int, int] | None:
        """Free a slot. The last sequence moves into it: returns (source, target) of the copy, or None if none is
        needed."""
        target = sequence.slot
        assert self.owners[target] is sequence
        last = self.owners.pop()
        sequence.slot = -1
        if last is sequence:
            return None
        source, last.slot = last.slot, target
        self.owners[target] = last
        return source, target

    def clear(self) -> None:
        for owner in self.owners:
            owner.slot = -1
        self.owners.clear()
