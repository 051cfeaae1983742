"""The state against a plain model of it: lists of what each slot was told."""

from __future__ import annotations

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from models.state import FIRST_POSITIONS, FIRST_SLOTS, POSITIONS, Snapshot, State, StateFull

SHAPES = [[(2,), (2, POSITIONS, 3)], [(POSITIONS, 1)]]


def said(state: State, slot: int, value: float, steps: int = 1) -> None:
    """Write as a body does: fixed tensors anew, growing ones at the slot's positions."""
    start = state.positions[slot]
    state.reserve(start + steps)
    (fixed, keys), (values,) = state.layers
    fixed[slot] = value
    keys[slot, :, start : start + steps] = value
    values[slot, start : start + steps] = value
    state.advance([steps if row == slot else 0 for row in range(state.slots)])


class Slots(RuleBasedStateMachine):
    """Any order of writing, copying, moving, resetting and restoring; through views too."""

    slots = st.integers(0, 6)

    @initialize()
    def begin(self) -> None:
        self.state = State.new(SHAPES, 7, limit=200)
        self.told: list[list[float]] = [[] for _ in range(7)]
        self.aside: list[tuple[Snapshot, list[float]]] = []

    @rule(slot=slots, value=st.integers(1, 9), steps=st.integers(1, 40), start=slots)
    def write(self, slot: int, value: int, steps: int, start: int) -> None:
        view = self.state.narrow(min(start, slot), 7 - min(start, slot))
        if len(self.told[slot]) + steps > 200:
            with pytest.raises(StateFull):
                view.reserve(len(self.told[slot]) + steps)
            return
        said(view, slot - min(start, slot), value, steps)
        self.told[slot] = self.told[slot] + [float(value)] * steps

    @rule(source=slots, goal=slots)
    def copy(self, source: int, goal: int) -> None:
        self.state.copy(source, goal)
        self.told[goal] = self.told[source]

    @rule(source=slots, goal=slots)
    def move(self, source: int, goal: int) -> None:
        self.state.move(source, goal)
        told = self.told[source]
        self.told[source] = []
        self.told[goal] = told

    @rule(which=st.sets(slots))
    def reset(self, which: set[int]) -> None:
        self.state.reset(which)
        for slot in which:
            self.told[slot] = []

    @rule(slot=slots)
    def put_aside(self, slot: int) -> None:
        self.aside.append((self.state.snapshot(slot), self.told[slot]))

    @rule(slot=slots, data=st.data())
    def restore(self, slot: int, data: st.DataObject) -> None:
        if self.aside:
            snapshot, told = data.draw(st.sampled_from(self.aside))
            self.state.restore(slot, snapshot)
            self.told[slot] = told

    @invariant()
    def each_slot_remembers_what_it_was_told_and_nothing_more(self) -> None:
        if not hasattr(self, "state"):
            return
        (fixed, keys), (values,) = self.state.layers
        assert self.state.positions == [len(told) for told in self.told]
        for slot, told in enumerate(self.told):
            assert fixed[slot].tolist() == [told[-1] if told else 0.0] * 2
            assert values[slot, :, 0].tolist() == told + [0.0] * (self.state.capacity - len(told))
            assert keys[slot, 1, :, 2].tolist() == values[slot, :, 0].tolist()


TestSlots = Slots.TestCase
TestSlots.settings = settings(max_examples=25, stateful_step_count=20)


def test_memory_follows_use() -> None:
    state = State.new(SHAPES, 64, limit=1024)
    assert state.nbytes == 0
    said(state.narrow(0, 1), 0, 1.0)
    a_position = (2 * 3 + 1) * 4
    assert state.nbytes == FIRST_SLOTS * (2 * 4 + FIRST_POSITIONS * a_position)
    assert state.narrow(0, 1).nbytes == state.nbytes // FIRST_SLOTS
    said(state.narrow(0, 1), 0, 1.0, FIRST_POSITIONS)
    assert state.capacity == 2 * FIRST_POSITIONS
    said(state.narrow(FIRST_SLOTS, 1), 0, 1.0)
    assert state.nbytes == 2 * FIRST_SLOTS * (2 * 4 + 2 * FIRST_POSITIONS * a_position)


def test_growth_ends_at_the_limit() -> None:
    state = State.new(SHAPES, 2, limit=100)
    state.reserve(70)
    assert state.capacity == 100
    with pytest.raises(StateFull, match="101 positions are needed, but the context length is 100"):
        state.reserve(101)


def test_a_view_stays_one_while_the_state_grows() -> None:
    state = State.new(SHAPES, 8, limit=1024)
    view = state.narrow(2, 3)
    said(view, 1, 7.0)
    said(state, 7, 3.0, 500)
    assert view.positions == [0, 1, 0]
    view.layers[0][0][1] = 5.0
    assert state.layers[0][0][3].tolist() == [5.0, 5.0]
    assert view.narrow(1, 1).layers[1][0][0, 0].item() == 7.0


def test_a_snapshot_is_cut_at_its_position_and_stands_alone() -> None:
    state = State.new(SHAPES, 2, limit=1024)
    said(state, 0, 7.0, 5)
    snapshot = state.snapshot(0)
    said(state, 0, 9.0, 5)
    assert snapshot.position == 5
    assert snapshot.nbytes == 2 * 4 + 5 * (2 * 3 + 1) * 4
    assert snapshot.layers[1][0].flatten().tolist() == [7.0] * 5


@pytest.mark.parametrize("slot", [-1, 2])
def test_a_slot_that_is_not_there_is_refused(slot: int) -> None:
    state = State.new(SHAPES, 4).narrow(1, 2)
    for call in (state.snapshot, lambda index: state.reset([index]), lambda index: state.copy(0, index)):
        with pytest.raises(IndexError):
            call(slot)
    with pytest.raises(IndexError):
        state.narrow(slot, 2)


def test_a_state_without_slots_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one slot"):
        State.new(SHAPES, 0)


def test_a_state_made_while_serving_can_be_written_elsewhere() -> None:
    with torch.inference_mode():
        state = State.new(SHAPES, 2)
        said(state, 0, 1.0)
    said(state, 0, 2.0, 100)
    state.reset()
    assert state.positions == [0, 0]
