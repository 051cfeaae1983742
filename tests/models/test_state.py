"""A state is compared with a simple model: for each slot, the list of the values that were written to it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from models.snapshot import Snapshot
from models.state import FIRST_POSITIONS, FIRST_SLOTS, POSITIONS, State, StateFull

SHAPES = [[(2,), (2, POSITIONS, 3)], [(POSITIONS, 1)]]


def append(state: State, slot: int, value: float, steps: int = 1) -> None:
    """Write `value` as a body does: to the fixed tensors, and to the next positions of the growing tensors."""
    start = state.positions[slot]
    state.reserve(start + steps)
    (fixed, keys), (values,) = state.layers
    fixed[slot] = value
    keys[slot, :, start : start + steps] = value
    values[slot, start : start + steps] = value
    state.advance([steps if row == slot else 0 for row in range(state.slots)])


class Slots(RuleBasedStateMachine):
    """Writes, copies, moves, resets and restores slots in random order. Writes also use views of the state."""

    slots = st.integers(0, 6)

    @initialize()
    def begin(self) -> None:
        self.state = State.new(SHAPES, 7, limit=200)
        self.values: list[list[float]] = [[] for _ in range(7)]
        self.snapshots: list[tuple[Snapshot, list[float]]] = []

    @rule(slot=slots, value=st.integers(1, 9), steps=st.integers(1, 40), start=slots)
    def write(self, slot: int, value: int, steps: int, start: int) -> None:
        view = self.state.narrow(min(start, slot), 7 - min(start, slot))
        if len(self.values[slot]) + steps > 200:
            with pytest.raises(StateFull):
                view.reserve(len(self.values[slot]) + steps)
            return
        append(view, slot - min(start, slot), value, steps)
        self.values[slot] = self.values[slot] + [float(value)] * steps

    @rule(source=slots, goal=slots)
    def copy(self, source: int, goal: int) -> None:
        self.state.copy(source, goal)
        self.values[goal] = self.values[source]

    @rule(source=slots, goal=slots)
    def move(self, source: int, goal: int) -> None:
        self.state.move(source, goal)
        values = self.values[source]
        self.values[source] = []
        self.values[goal] = values

    @rule(which=st.sets(slots))
    def reset(self, which: set[int]) -> None:
        self.state.reset(which)
        for slot in which:
            self.values[slot] = []

    @rule(slot=slots)
    def snapshot(self, slot: int) -> None:
        self.snapshots.append((self.state.snapshot(slot), self.values[slot]))

    @rule(slot=slots, data=st.data())
    def restore(self, slot: int, data: st.DataObject) -> None:
        if self.snapshots:
            snapshot, values = data.draw(st.sampled_from(self.snapshots))
            self.state.restore(slot, snapshot)
            self.values[slot] = values

    @invariant()
    def each_slot_holds_what_was_written_to_it_and_zeros(self) -> None:
        if not hasattr(self, "state"):
            return
        (fixed, keys), (values,) = self.state.layers
        assert self.state.positions == [len(values) for values in self.values]
        for slot, written in enumerate(self.values):
            assert fixed[slot].tolist() == [written[-1] if written else 0.0] * 2
            assert values[slot, :, 0].tolist() == written + [0.0] * (self.state.capacity - len(written))
            assert keys[slot, 1, :, 2].tolist() == values[slot, :, 0].tolist()


TestSlots = Slots.TestCase
TestSlots.settings = settings(max_examples=25, stateful_step_count=20)


def test_memory_is_allocated_as_it_is_used() -> None:
    state = State.new(SHAPES, 64, limit=1024)
    assert state.nbytes == 0
    append(state.narrow(0, 1), 0, 1.0)
    position_bytes = (2 * 3 + 1) * 4
    assert state.nbytes == FIRST_SLOTS * (2 * 4 + FIRST_POSITIONS * position_bytes)
    assert state.narrow(0, 1).nbytes == state.nbytes // FIRST_SLOTS
    append(state.narrow(0, 1), 0, 1.0, FIRST_POSITIONS)
    assert state.capacity == 2 * FIRST_POSITIONS
    append(state.narrow(FIRST_SLOTS, 1), 0, 1.0)
    assert state.nbytes == 2 * FIRST_SLOTS * (2 * 4 + 2 * FIRST_POSITIONS * position_bytes)


def test_a_state_grows_up_to_its_limit() -> None:
    state = State.new(SHAPES, 2, limit=100)
    state.reserve(70)
    assert state.capacity == 100
    with pytest.raises(StateFull, match="101 positions are needed, but the context length is 100"):
        state.reserve(101)


def test_a_view_remains_one_while_the_state_grows() -> None:
    state = State.new(SHAPES, 8, limit=1024)
    view = state.narrow(2, 3)
    append(view, 1, 7.0)
    append(state, 7, 3.0, 500)
    assert view.positions == [0, 1, 0]
    view.layers[0][0][1] = 5.0
    assert state.layers[0][0][3].tolist() == [5.0, 5.0]
    assert view.narrow(1, 1).layers[1][0][0, 0].item() == 7.0


def test_a_snapshot_is_an_independent_copy_cut_at_its_position() -> None:
    state = State.new(SHAPES, 2, limit=1024)
    append(state, 0, 7.0, 5)
    snapshot = state.snapshot(0)
    append(state, 0, 9.0, 5)
    assert snapshot.position == 5
    assert snapshot.nbytes == 2 * 4 + 5 * (2 * 3 + 1) * 4
    assert snapshot.layers[1][0].flatten().tolist() == [7.0] * 5


@pytest.mark.parametrize("slot", [-1, 2])
def test_a_slot_outside_of_a_view_is_refused(slot: int) -> None:
    state = State.new(SHAPES, 4).narrow(1, 2)
    for call in (state.snapshot, lambda index: state.reset([index]), lambda index: state.copy(0, index)):
        with pytest.raises(IndexError):
            call(slot)
    with pytest.raises(IndexError):
        state.narrow(slot, 2)


def test_a_state_without_slots_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one slot"):
        State.new(SHAPES, 0)


def test_a_state_made_in_inference_mode_can_be_written_outside_of_it() -> None:
    with torch.inference_mode():
        state = State.new(SHAPES, 2)
        append(state, 0, 1.0)
    append(state, 0, 2.0, 100)
    state.reset()
    assert state.positions == [0, 0]


def test_a_growth_that_fails_leaves_the_state_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    state = State.new(SHAPES, 4, limit=4 * FIRST_POSITIONS)
    append(state, 0, 1.0, FIRST_POSITIONS)
    real, allocations = torch.zeros, iter([True, True, False])  # the second layer cannot grow

    def zeros(*arguments: object, **options: object) -> torch.Tensor:
        if not next(allocations, True):
            raise RuntimeError("not enough memory")
        return real(*arguments, **options)  # type: ignore[call-overload, no-any-return]

    monkeypatch.setattr(torch, "zeros", zeros)
    with pytest.raises(RuntimeError, match="not enough memory"):
        state.reserve(FIRST_POSITIONS + 1)
    state.reserve(FIRST_POSITIONS)  # does not have to grow
    append(state, 0, 2.0, 1)
    (_, keys), (values,) = state.layers
    for tensor in (keys[0, 0, :, 0], values[0, :, 0]):
        assert tensor[: FIRST_POSITIONS + 1].tolist() == [1.0] * FIRST_POSITIONS + [2.0]
