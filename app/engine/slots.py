"""Which running sequence holds which slot (row of the state). The slots in use are a dense prefix. Imports no torch."""

from __future__ import annotations

from app.engine.sequence import Sequence


class Slots:
    """`owners[i]` holds slot i. Slots 0 to len(owners) - 1 are in use and the rest are free, without holes.

    So a decode step works on a view of the state's first rows, and copies nothing.
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
        """Give a slot back. The last sequence moves into it: returns (source, target) of the copy, None if no copy."""
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
