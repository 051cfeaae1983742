"""Which running sequence holds which row of the state: a dense prefix. Moves no data and knows no tensor."""

from __future__ import annotations

from app.engine.sequence import Sequence


class Slots:
    """`owners[i]` holds slot i. Slots 0 to len(owners) - 1 are taken, the rest are free: there are no holes."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.owners: list[Sequence] = []

    @property
    def full(self) -> bool:
        return len(self.owners) >= self.capacity

    def take(self, sequence: Sequence) -> None:
        assert not self.full and sequence.slot < 0
        sequence.slot = len(self.owners)
        self.owners.append(sequence)

    def free(self, sequence: Sequence) -> tuple[int, int] | None:
        """Give a slot back. (source, target): the last slot's state must be copied there; None: nothing moves."""
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
