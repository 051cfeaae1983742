"""Assigns slots (rows of the state) to running sequences, without gaps between used slots. Imports no torch."""

from __future__ import annotations

from app.engine.sequence import Sequence


class Slots:
    """The slots of a decoder's state. `owners[i]` is the sequence in slot i.

    `background` is the number of background sequences that have a slot. Slots 0 to len(owners) - 1 are in use, without
    gaps, and all others are free. A decode step can therefore use a view of the state's first rows, without copying.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.owners: list[Sequence] = []
        self.background = 0  # a running count: a sum over all slots at each admission would take quadratic time

    @property
    def full(self) -> bool:
        """Whether every slot is in use."""
        return len(self.owners) >= self.capacity

    def take(self, sequence: Sequence) -> None:
        """Assign the first free slot to a sequence."""
        assert not self.full and sequence.slot < 0
        sequence.slot = len(self.owners)
        self.owners.append(sequence)
        self.background += sequence.background

    def free(self, sequence: Sequence) -> tuple[int, int] | None:
        """Free a sequence's slot and move the sequence in the last slot into it, so that no gap remains.

        Returns (source, target), the slots between which the state must be copied, or None if no copy is needed.
        """
        target = sequence.slot
        assert self.owners[target] is sequence
        # Moving the last sequence into the gap copies the state of one slot. Shifting all later sequences would copy
        # the states of all of them.
        last = self.owners.pop()
        self.background -= sequence.background
        sequence.slot = -1
        if last is sequence:  # the sequence was in the last slot, so there is no gap
            return None
        source, last.slot = last.slot, target
        self.owners[target] = last
        return source, target

    def clear(self) -> None:
        """Free all slots. No state needs to be copied, because no sequence remains."""
        for owner in self.owners:
            owner.slot = -1  # a later `Scheduler.remove` of this sequence must not free another sequence's slot
        self.owners.clear()
        self.background = 0
