"""Which sequences run in the next step, and which prompt ids are read. Plain Python: knows no tensor and no clock.

A step reads one token of each decoding sequence in one call, and then bounded chunks of prompts.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from dataclasses import dataclass

from app.engine.sequence import Sequence
from app.engine.slots import Slots


@dataclass(frozen=True, slots=True)
class Chunk:
    """The next `lengths[i]` prompt ids of `sequences[i]`, which holds slot `start` + i."""

    start: int
    sequences: tuple[Sequence, ...]
    lengths: tuple[int, ...]

    @property
    def cost(self) -> int:
        return len(self.lengths) * max(self.lengths)


class Scheduler:
    """First come, first served. `alone`: each row is a call of its own, cut at fixed places, so that the shapes of
    a sequence's calls do not depend on its neighbours."""

    def __init__(self, max_slots: int, prefill_tokens: int, alone: bool = False) -> None:
        self.waiting: deque[Sequence] = deque()
        self.slots = Slots(max_slots)
        self.prefill_tokens = prefill_tokens
        self.alone = alone
        self._arrivals = 0

    @property
    def running(self) -> list[Sequence]:
        return self.slots.owners

    def add(self, sequence: Sequence) -> None:
        self._arrivals += 1
        sequence.order = self._arrivals
        self.waiting.append(sequence)

    def remove(self, sequence: Sequence) -> tuple[int, int] | None:
        """Forget a sequence, waiting or running. Returns the state's move (source, target) that this asks for."""
        if sequence.slot >= 0:
            return self.slots.free(sequence)
        with suppress(ValueError):  # `clear` was faster
            self.waiting.remove(sequence)
        return None

    def clear(self) -> None:
        """Forget all of them; nothing is worth moving."""
        self.waiting.clear()
        self.slots.clear()

    def admit(self) -> list[Sequence]:
        """Give free slots to those who wait; their state must be reset before use."""
        admitted = []
        while self.waiting and not self.slots.full:
            sequence = self.waiting.popleft()
            self.slots.take(sequence)
            admitted.append(sequence)
        return admitted

    def decoding(self) -> list[Sequence | None]:
        """The rows of the decode call, from slot 0 on; None: this slot still reads its prompt."""
        rows = [None if s.computed < len(s.prompt) else s for s in self.slots.owners]
        while rows and rows[-1] is None:
            rows.pop()
        return rows

    def chunks(self) -> list[Chunk]:
        """Prompt chunks for this step, the longest waiting first, `prefill_tokens` in all, padding included."""
        pending = sorted((s for s in self.slots.owners if s.remaining), key=lambda s: s.order)
        taken: set[Sequence] = set()
        chunks: list[Chunk] = []
        budget = self.prefill_tokens
        for sequence in pending:
            if budget <= 0:
                break
            if sequence in taken:
                continue
            chunk = self._alone(sequence) if self.alone else self._grow(sequence, taken, budget)
            if chunks and chunk.cost > budget:
                break
            taken.update(chunk.sequences)
            chunks.append(chunk)
            budget -= chunk.cost
        return chunks

    def _alone(self, sequence: Sequence) -> Chunk:
        return Chunk(sequence.slot, (sequence,), (min(sequence.remaining, self.prefill_tokens),))

    def _grow(self, first: Sequence, taken: set[Sequence], budget: int) -> Chunk:
        """A chunk around `first`: neighbouring slots join while the budget holds and half of it is no padding."""
        owners = self.slots.owners
        left = right = first.slot
        steps = min(first.remaining, budget)
        for direction in (1, -1):
            while 0 <= (slot := (right if direction > 0 else left) + direction) < len(owners):
                rows = right - left + 2
                joining = owners[slot]
                longer = max(steps, min(joining.remaining, budget // rows))
                real = sum(min(s.remaining, longer) for s in owners[left : right + 1]) + min(joining.remaining, longer)
                if not joining.remaining or joining in taken or rows * longer > budget or 2 * real < rows * longer:
                    break
                steps = longer
                left, right = min(left, slot), max(right, slot)
        group = tuple(owners[left : right + 1])
        return Chunk(left, group, tuple(min(s.remaining, steps) for s in group))
