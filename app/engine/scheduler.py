"""Chooses the sequences that run in the next step, and the prompt tokens that it reads. Imports no torch.

A step decodes one token of each running sequence in one call. Then it reads prompts in chunks, up to a budget, so that
a long prompt delays the next token of other sequences by a bounded time.
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
        """The number of tokens in the call, including padding."""
        return len(self.lengths) * max(self.lengths)


class Scheduler:
    """Schedules sequences first come, first served.

    With `alone`, each row is computed in a separate call and prompts are cut at fixed places, so that the shapes of a
    sequence's calls do not depend on its neighbours.
    """

    def __init__(self, max_slots: int, prefill_tokens: int, alone: bool = False) -> None:
        # An ordered dictionary, because any waiting sequence may be aborted, which takes constant time here.
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
        """Remove a waiting or running sequence. Has no effect if it has been removed already.

        Returns (source, target) if the state of slot `source` must be copied to slot `target`.
        """
        if sequence.slot >= 0:
            return self.slots.free(sequence)
        self.waiting.pop(sequence, None)
        return None

    def clear(self) -> None:
        """Remove all sequences. No state needs to be copied then."""
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
        """Return the rows of the decode call, from slot 0 on, with None for a slot whose prompt is still being read."""
        rows = [None if s.computed < len(s.prompt) else s for s in self.slots.owners]
        while rows and rows[-1] is None:
            rows.pop()
        return rows

    def chunks(self) -> list[Chunk]:
        """The prompt chunks of this step, oldest sequence first: at most `prefill_tokens` tokens, including padding."""
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
        """Build a chunk around `first`. Neighbouring slots join while the budget allows and padding is at most half.

        `real` counts the tokens without padding. A running sum is enough, because raising `steps` for a new row does
        not lengthen an earlier one: a row is cut only to the budget divided by the number of rows. This share shrinks
        with each row, so once a row has been cut, `steps` is at least the share and does not rise any more.
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
