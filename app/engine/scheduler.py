"""Which sequences run in the next step, and which prompt tokens are read. Imports no torch.

A step decodes one token of each running sequence in one call. Then it reads prompts in chunks, up to a budget, so that
a long prompt delays the others' next token by a bounded time.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from app.engine.sequence import Sequence
from app.engine.slots import Slots


@dataclass(frozen=True, slots=True)
class Chunk:
    """The next `lengths[i]` prompt tokens of `sequences[i]`, which holds slot `start` + i."""

    start: int
    sequences: tuple[Sequence, ...]
    lengths: tuple[int, ...]

    @property
    def cost(self) -> int:
        """Tokens of the call, padding included."""
        return len(self.lengths) * max(self.lengths)


class Scheduler:
    """First come, first served.

    With `alone`, each row is a call of its own and prompts are cut at fixed places, so that the shapes of a sequence's
    calls do not depend on its neighbours.
    """

    def __init__(self, max_slots: int, prefill_tokens: int, alone: bool = False) -> None:
        # An ordered dictionary, since any waiting sequence may leave: an abort takes constant time.
        self.waiting: OrderedDict[Sequence, None] = OrderedDict()
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
        self.waiting[sequence] = None

    def remove(self, sequence: Sequence) -> tuple[int, int] | None:
        """Take out a sequence, waiting or running; one that is out already changes nothing.

        Returns (source, target) if the state of slot `source` must be copied to slot `target`.
        """
        if sequence.slot >= 0:
            return self.slots.free(sequence)
        self.waiting.pop(sequence, None)
        return None

    def clear(self) -> None:
        """Take out all sequences; no state is worth copying then."""
        self.waiting.clear()
        self.slots.clear()

    def admit(self) -> list[Sequence]:
        """Give the free slots to waiting sequences. The state of these slots must be reset before use."""
        admitted = []
        while self.waiting and not self.slots.full:
            sequence, _ = self.waiting.popitem(last=False)
            self.slots.take(sequence)
            admitted.append(sequence)
        return admitted

    def decoding(self) -> list[Sequence | None]:
        """The rows of the decode call, from slot 0 on; None for a slot whose prompt is still being read."""
        rows = [None if s.computed < len(s.prompt) else s for s in self.slots.owners]
        while rows and rows[-1] is None:
            rows.pop()
        return rows

    def chunks(self) -> list[Chunk]:
        """Prompt chunks for this step, oldest sequence first; together `prefill_tokens` at most, padding included."""
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
        """A chunk around `first`: neighbouring slots join while the budget holds and at least half of it is real.

        `real` counts the tokens without padding. It is a running sum: raising `steps` for a new row lengthens no
        earlier one. A row is cut only at the budget's share of a row; that share shrinks with each row, so once a row
        is cut, `steps` is at least as large and stays as it is.
        """
        owners = self.slots.owners
        left = right = first.slot
        real = steps = min(first.remaining, budget)
        for direction in (1, -1):
            while 0 <= (slot := (right if direction > 0 else left) + direction) < len(owners):
                rows = right - left + 2
                joining = owners[slot]
                longer = max(steps, min(joining.remaining, budget // rows))
                more = real + min(joining.remaining, longer)
                if not joining.remaining or joining in taken or rows * longer > budget or 2 * more < rows * longer:
                    break
                real, steps = more, longer
                left, right = min(left, slot), max(right, slot)
        group = tuple(owners[left : right + 1])
        return Chunk(left, group, tuple(min(s.remaining, steps) for s in group))
