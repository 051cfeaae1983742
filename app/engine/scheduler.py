"""Chooses the sequences that run in the next step, and the prompt tokens that the step reads. Imports no torch.

A step decodes one token for each running sequence in a single call. Then the step reads prompts in chunks, up to a
token budget. A long prompt therefore delays other sequences' next tokens only by a bounded time.
"""

from __future__ import annotations

from dataclasses import dataclass

from app.engine.sequence import Sequence
from app.engine.slots import Slots
from app.engine.turns import TurnQueue


@dataclass(frozen=True, slots=True)
class Chunk:
    """The input of a prefill call: the next `lengths[i]` prompt tokens of each `sequences[i]`, in slot `start` + i."""

    start: int
    sequences: tuple[Sequence, ...]
    lengths: tuple[int, ...]

    @property
    def cost(self) -> int:
        """The number of tokens in the call, including padding."""
        return len(self.lengths) * max(self.lengths)


BACKGROUND_SHARE = 8  # background sequences may take one in this many slots


class Scheduler:
    """Schedules the sequences of each version first come, first served. Background sequences come after all others.

    If several versions share a base, they take turns: each free slot goes to the version that has waited longest.

    If `alone` is true, each row is computed in a separate call and prompts are split at fixed positions, so that the
    shapes of a sequence's calls do not depend on other sequences.
    """

    def __init__(self, max_slots: int, prefill_tokens: int, alone: bool = False) -> None:
        self._waiting, self._background = TurnQueue(_version), TurnQueue(_version)
        self.slots = Slots(max_slots)
        self.prefill_tokens = prefill_tokens
        self.alone = alone
        self._admitted = 0

    @property
    def waiting(self) -> list[Sequence]:
        """The sequences that are waiting for a slot, in the order in which they will get one."""
        return [*self._waiting, *self._background]

    @property
    def queued(self) -> int:
        """The number of sequences that are waiting for a slot. Safe to read from another thread."""
        return len(self._waiting) + len(self._background)

    @property
    def running(self) -> list[Sequence]:
        """The sequences that have a slot, in the order of their slots. The list is not a copy."""
        return self.slots.owners

    def add(self, sequence: Sequence) -> None:
        """Append a sequence to the queue."""
        (self._background if sequence.background else self._waiting).add(sequence)

    def remove(self, sequence: Sequence) -> tuple[int, int] | None:
        """Remove a waiting or running sequence. Has no effect if the sequence has already been removed.

        Returns (source, target) if the state of slot `source` must be copied to slot `target`.
        """
        if sequence.slot >= 0:
            return self.slots.free(sequence)
        self._waiting.remove(sequence)
        self._background.remove(sequence)
        return None

    def clear(self) -> None:
        """Remove all sequences. No state needs to be copied afterwards."""
        self._waiting.clear()
        self._background.clear()
        self.slots.clear()

    def admit(self) -> list[Sequence]:
        """Assign free slots to waiting sequences and return the sequences. The caller must reset the slots' state."""
        admitted = []
        while not self.slots.full and (sequence := self._following()) is not None:
            self.slots.take(sequence)
            # Slots do not show the order, because sequences change slots, so each sequence carries its number.
            self._admitted += 1
            sequence.order = self._admitted
            admitted.append(sequence)
        return admitted

    def _following(self) -> Sequence | None:
        """Remove and return the next sequence that may take a slot. Return None if there is none."""
        if self._waiting:
            return self._waiting.pop()
        if not self._background:
            return None
        most = max(1, self.slots.capacity // BACKGROUND_SHARE)
        return self._background.pop() if self.slots.background < most else None

    def decoding(self) -> list[Sequence | None]:
        """Return the rows of the decode call, starting at slot 0. A row is None while its prompt is being read."""
        # Row i of the call is slot i of the state, so a slot that cannot decode yet must keep an empty row. Only the
        # empty rows at the end are left out.
        rows = [None if s.computed < len(s.prompt) else s for s in self.slots.owners]
        while rows and rows[-1] is None:
            rows.pop()
        return rows

    def chunks(self) -> list[Chunk]:
        """Return this step's prompt chunks, oldest first and background last.

        Together, the chunks have at most `prefill_tokens` tokens, including padding.
        """
        pending = sorted((s for s in self.slots.owners if s.remaining), key=lambda s: (s.background, s.order))
        taken: set[Sequence] = set()
        chunks: list[Chunk] = []
        budget = self.prefill_tokens
        for sequence in pending:
            if budget <= 0:
                break
            if sequence in taken:
                continue
            # A prompt that is read alone is cut at multiples of `prefill_tokens`, even if less of the budget is left:
            # other sequences must not decide where it is cut.
            chunk = self._alone(sequence) if self.alone else self._grow(sequence, taken, budget)
            # Only such a chunk can exceed the rest of the budget. Newer sequences wait behind it; otherwise, short
            # prompts would overtake a long one in every step.
            if chunks and chunk.cost > budget:
                break
            taken.update(chunk.sequences)
            chunks.append(chunk)
            budget -= chunk.cost
        return chunks

    def _alone(self, sequence: Sequence) -> Chunk:
        return Chunk(sequence.slot, (sequence,), (min(sequence.due, self.prefill_tokens),))

    def _grow(self, first: Sequence, taken: set[Sequence], budget: int) -> Chunk:
        """Return a chunk that contains `first`.

        Adds neighbouring slots as long as the budget allows and at most half of the tokens in the call are padding.

        `real` is the number of tokens without padding. A running sum suffices, because raising `steps` for a new row
        does not lengthen any earlier row. A row is cut only to its share, which is the budget divided by the number of
        rows. The share decreases with each new row. Therefore, once a row has been cut, `steps` is at least as large as
        all later shares, and does not rise again.
        """
        owners = self.slots.owners
        # Only neighbours can join: a call reads and writes a contiguous range of slots, as a view without copies.
        left = right = first.slot
        real = steps = min(first.due, budget)
        for direction in (1, -1):
            while 0 <= (slot := (right if direction > 0 else left) + direction) < len(owners):
                rows = right - left + 2
                joining = owners[slot]
                longer = max(steps, min(joining.due, budget // rows))
                more = real + min(joining.due, longer)
                if not joining.due or joining in taken or rows * longer > budget or 2 * more < rows * longer:
                    break
                real, steps = more, longer
                left, right = min(left, slot), max(right, slot)
        group = tuple(owners[left : right + 1])
        return Chunk(left, group, tuple(min(s.due, steps) for s in group))


def _version(sequence: Sequence) -> str:
    return sequence.member.digest
