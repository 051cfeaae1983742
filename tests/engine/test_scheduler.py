"""The scheduler leaves no gaps between slots, starves no sequence and exceeds no budget, whatever arrives or leaves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from app.engine import sequence as sequences
from app.engine.reply import Counters
from app.engine.requests import Member
from app.engine.scheduler import Chunk, Scheduler
from app.engine.sequence import Sequence
from app.engine.slots import Slots
from app.wire.engine import Generate, SamplingParams


def make(length: int, max_tokens: int = 4, background: bool = False, version: str = "d") -> Sequence:
    message = Generate("x", "d", "p", [1] * length, SamplingParams(max_tokens=max_tokens), background=background)
    return sequences.admit(message, b"", 10_000, Member(version, Counters()))


class Life(RuleBasedStateMachine):
    """Random operations on a scheduler. `state` maps each slot to (its sequence, the number of tokens read)."""

    @initialize(slots=st.integers(1, 6), prefill=st.integers(1, 50), alone=st.booleans())
    def start(self, slots: int, prefill: int, alone: bool) -> None:
        self.scheduler = Scheduler(slots, prefill, alone)
        self.state: dict[int, tuple[Sequence, int]] = {}
        self.sequences: list[Sequence] = []

    @rule(length=st.integers(1, 80), count=st.integers(1, 5), background=st.booleans())
    def arrive(self, length: int, count: int, background: bool) -> None:
        sequence = make(length, count, background)
        self.sequences.append(sequence)
        self.scheduler.add(sequence)

    @rule(data=st.data())
    def abort(self, data: st.DataObject) -> None:
        if self.sequences:
            self.leave(data.draw(st.sampled_from(self.sequences)))

    def leave(self, sequence: Sequence) -> None:
        slot = sequence.slot
        move = self.scheduler.remove(sequence)
        self.sequences.remove(sequence)
        if move:
            self.state[move[1]] = self.state[move[0]]
        elif slot >= 0:
            del self.state[slot]
            return
        if move:
            del self.state[move[0]]

    @rule()
    def step(self) -> None:
        scheduler = self.scheduler
        for sequence in scheduler.admit():
            self.state[sequence.slot] = (sequence, 0)
        behind = [s.background for s in scheduler.waiting]
        held = sum(s.background for s in scheduler.running) >= max(1, scheduler.slots.capacity // 8)
        assert scheduler.slots.full or (all(behind) and (held or not behind))
        for slot, sequence in enumerate(scheduler.decoding()):
            if sequence:
                owner, fed = self.state[slot]
                assert owner is sequence and fed == len(sequence.prompt) + len(sequence.output) - 1
                self.state[slot] = (owner, fed + 1)
                sequence.append(5)
        self.check_chunks()
        for sequence in [s for s in self.sequences if len(s.output) >= s.limit]:
            self.leave(sequence)

    def check_chunks(self) -> None:
        scheduler = self.scheduler
        reading = [s for s in scheduler.running if s.remaining]
        chunks = scheduler.chunks()
        chosen = [s for chunk in chunks for s in chunk.sequences]
        assert len(chosen) == len(set(chosen)) and set(chosen) <= set(reading)
        assert sum(chunk.cost for chunk in chunks) <= scheduler.prefill_tokens
        if reading:
            assert min(reading, key=lambda s: (s.background, s.order)) in chosen  # the oldest always continues
        for chunk in chunks:
            for i, (sequence, length) in enumerate(zip(chunk.sequences, chunk.lengths, strict=True)):
                assert sequence.slot == chunk.start + i and 1 <= length <= sequence.remaining
                if scheduler.alone:
                    assert length == min(sequence.remaining, scheduler.prefill_tokens)
                    assert sequence.computed % scheduler.prefill_tokens == 0
                owner, fed = self.state[sequence.slot]
                assert owner is sequence and fed == sequence.computed
                self.state[sequence.slot] = (owner, fed + length)
                sequence.computed += length
                if not sequence.remaining:
                    sequence.append(5)

    @invariant()
    def slots_are_a_dense_prefix(self) -> None:
        owners = self.scheduler.running
        assert [s.slot for s in owners] == list(range(len(owners)))
        assert sorted(self.state) == list(range(len(owners)))
        assert all(self.state[s.slot][0] is s for s in owners)


TestLife = Life.TestCase


def test_the_last_sequence_moves_into_the_freed_slot() -> None:
    slots = Slots(3)
    first, second, third = make(1), make(1), make(1)
    for sequence in (first, second, third):
        slots.take(sequence)
    assert slots.full
    assert slots.free(first) == (2, 0)
    assert slots.owners == [third, second] and third.slot == 0 and first.slot == -1
    assert slots.free(second) is None


@pytest.mark.parametrize(
    ("lengths", "budget", "expected"),
    [
        ((32,) * 4, 512, [(0, (32, 32, 32, 32))]),  # sequences that arrive together share a call
        ((600, 10), 512, [(0, (512,))]),  # a long prompt is cut, and the others wait
        ((40, 2, 2, 2), 200, [(0, (40, 2)), (2, (2, 2))]),  # a call is never mostly padding
        ((10, 30), 64, [(0, (10, 30))]),
    ],
)
def test_chunks(lengths: tuple[int, ...], budget: int, expected: list[tuple[int, tuple[int, ...]]]) -> None:
    scheduler = Scheduler(8, budget)
    for length in lengths:
        scheduler.add(make(length))
    scheduler.admit()
    assert [(chunk.start, chunk.lengths) for chunk in scheduler.chunks()] == expected


def plain_chunk(first: Sequence, owners: list[Sequence], taken: set[Sequence], budget: int) -> Chunk:
    """A simple implementation of the same rule, which counts the real tokens again for each neighbour."""
    group, steps = [first], min(first.remaining, budget)
    for direction in (1, -1):
        while 0 <= (slot := (group[-1].slot + 1 if direction > 0 else group[0].slot - 1)) < len(owners):
            joining = owners[slot]
            longer = max(steps, min(joining.remaining, budget // (len(group) + 1)))
            larger = [*group, joining] if direction > 0 else [joining, *group]
            size, real = len(larger) * longer, sum(min(s.remaining, longer) for s in larger)
            if not joining.remaining or joining in taken or size > budget or 2 * real < size:
                break
            group, steps = larger, longer
    return Chunk(group[0].slot, tuple(group), tuple(min(s.remaining, steps) for s in group))


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 59)), min_size=1, max_size=20), st.integers(1, 300))
def test_chunks_equal_those_of_the_plain_rule(rows: list[tuple[int, int]], budget: int) -> None:
    scheduler = Scheduler(20, budget)
    for length, computed in rows:
        sequence = make(length)
        sequence.computed = min(computed, length)
        scheduler.add(sequence)
    scheduler.admit()
    taken: set[Sequence] = set()
    left = budget
    for chunk in scheduler.chunks():
        oldest = next(s for s in scheduler.running if s.remaining and s not in taken)  # slots are in order of arrival
        assert chunk == plain_chunk(oldest, scheduler.running, taken, left)
        taken.update(chunk.sequences)
        left -= chunk.cost


def test_slots_that_still_read_their_prompt_are_left_out_of_the_decode_call() -> None:
    scheduler = Scheduler(4, 100)
    rows = [make(3) for _ in range(3)]
    for row in rows:
        scheduler.add(row)
    scheduler.admit()
    rows[1].computed = 3
    assert scheduler.decoding() == [None, rows[1]]


def test_background_sequences_come_last_and_share_few_slots() -> None:
    scheduler = Scheduler(16, 10)
    behind, front = [make(4, background=True) for _ in range(4)], [make(4) for _ in range(3)]
    for sequence in (*behind, *front):
        scheduler.add(sequence)
    assert scheduler.waiting == [*front, *behind] and scheduler.queued == 7
    assert scheduler.admit() == [*front, *behind[:2]]  # an eighth of the slots
    assert next(s for chunk in scheduler.chunks() for s in chunk.sequences) in front
    for sequence in (*front, behind[0]):
        scheduler.remove(sequence)
    assert scheduler.admit() == [behind[2]]
    scheduler.remove(behind[3])
    assert scheduler.queued == 0 and scheduler.admit() == []
    alone = Scheduler(2, 10)
    alone.add(behind[3])
    assert alone.admit() == [behind[3]]


def test_versions_with_a_common_base_take_turns() -> None:
    scheduler = Scheduler(2, 10)
    many, lone = [make(20) for _ in range(4)], make(20, version="other")
    for sequence in (*many, lone):
        scheduler.add(sequence)
    assert scheduler.waiting == [many[0], lone, *many[1:]]
    assert scheduler.admit() == [many[0], lone]
    scheduler.remove(many[0])
    assert scheduler.admit() == [many[1]]
    assert scheduler.chunks()[0].sequences[0] is lone  # its prompt is read before those that were admitted later
