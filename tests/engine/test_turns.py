"""Turns are fair, and only parts with work are visited."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from app.engine.turns import Active, TurnQueue, Turns


@dataclass(eq=False)
class Part:
    """A fake scorer with `rows` that wait for a batch. It counts how often it is visited."""

    name: int = 0
    rows: int = 0
    looks: int = 0

    @property
    def queued(self) -> bool:
        self.looks += 1
        return self.rows > 0

    busy = queued


events = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 5)),
        st.tuples(st.just("abort"), st.integers(0, 5)),
        st.tuples(st.just("unload"), st.integers(0, 5)),
        st.tuples(st.just("take"), st.just(0)),
    ),
    max_size=60,
)


@given(events)
def test_the_part_whose_last_turn_is_longest_ago_is_next(events: list[tuple[str, int]]) -> None:
    turns: Turns[Part] = Turns()
    parts = [Part(name) for name in range(6)]
    last_turn = dict.fromkeys(parts, 0)
    for turn, (event, number) in enumerate(events, 1):
        part = parts[number]
        if event == "add":
            part.rows += 1
            turns.add(part)
        elif event == "abort":
            part.rows = 0
        elif event == "unload":
            part.rows = 0
            turns.discard(part)
            last_turn[part] = 0
        else:
            queued = [p for p in parts if p.rows]
            assert bool(turns) == bool(queued)
            chosen = turns.take()
            assert (chosen in queued) if queued else (chosen is None)
            if chosen:
                assert last_turn[chosen] == min(last_turn[p] for p in queued)
                last_turn[chosen] = turn
                chosen.rows -= 1


@given(st.integers(1, 8), st.integers(1, 5))
def test_parts_that_always_have_work_get_equally_many_turns(count: int, rounds: int) -> None:
    turns: Turns[Part] = Turns()
    parts = [Part(name, rows=10**6) for name in range(count)]
    for part in parts:
        turns.add(part)
    takes = [turns.take() for _ in range(count * rounds)]
    assert all(takes.count(part) == rounds for part in parts)


@given(st.integers(1, 8), st.lists(st.integers(0, 7), max_size=40))
def test_no_waiting_part_starves_whoever_else_comes_and_goes(count: int, arrivals: list[int]) -> None:
    """While a part waits, every other part gets at most one turn."""
    turns: Turns[Part] = Turns()
    others = [Part(name) for name in range(count)]
    patient = Part(-1, rows=1)
    turns.add(patient)
    takes = []
    for arrival in arrivals:
        part = others[arrival % count]
        part.rows += 1
        turns.add(part)
        takes.append(turns.take())
        if takes[-1] is patient:
            return
        assert takes[-1]
        takes[-1].rows -= 1
        assert max(takes.count(other) for other in others) <= 1


def test_a_part_that_was_idle_comes_before_those_that_had_turns_since() -> None:
    turns: Turns[Part] = Turns()
    first, second, rare = Part(1, rows=9), Part(2, rows=9), Part(3)
    for part in (first, second):
        turns.add(part)
    assert [turns.take() for _ in range(4)] == [first, second, first, second]
    rare.rows = 1
    turns.add(rare)
    assert turns.take() is rare


def test_active_parts_are_those_with_open_requests() -> None:
    active: Active[Part] = Active()
    assert not active
    parts = [Part(name, rows=1) for name in range(4)]
    for part in parts:
        active.add(part)
        active.add(part)
    parts[0].rows = parts[2].rows = 0
    assert active and list(active) == [parts[1], parts[3]]
    active.discard(parts[1])
    parts[3].rows = 0
    assert not active and list(active) == []


def test_idle_parts_are_not_looked_at_again() -> None:
    active: Active[Part] = Active()
    turns: Turns[Part] = Turns()
    idle, working = [Part(name) for name in range(100)], Part(rows=10**6)
    for part in [*idle, working]:
        active.add(part)
        turns.add(part)
    for _ in range(10):
        assert list(active) == [working] and active and turns
        assert turns.take() is working
    assert sum(part.looks for part in idle) <= 200


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3)), max_size=60))
def test_owners_take_turns_and_their_items_keep_their_order(operations: list[tuple[str, int]]) -> None:
    queue: TurnQueue[tuple[str, int]] = TurnQueue(lambda item: item[0])
    items: list[tuple[str, int]] = []
    overtaken: dict[str, list[str]] = {}  # owner that waits -> the owners that have had a turn since
    for number, (owner, action) in enumerate(operations):
        if action == 3 and items:
            order = list(queue)
            item = queue.pop()
            assert item == order[0] and item == next(each for each in items if each[0] == item[0])
            items.remove(item)
            overtaken.pop(item[0])
            for turns in overtaken.values():
                turns.append(item[0])
                assert len(turns) == len(set(turns))
            if any(each[0] == item[0] for each in items):
                overtaken[item[0]] = []
        elif action == 2 and items:
            item = items.pop(number % len(items))
            queue.remove(item)
            queue.remove(item)
            if not any(each[0] == item[0] for each in items):
                overtaken.pop(item[0])
        else:
            items.append((owner, number))
            queue.add(items[-1])
            overtaken.setdefault(owner, [])
        assert len(queue) == len(items) and sorted(queue) == sorted(items)
    order = list(queue)
    assert order == [queue.pop() for _ in items]
    queue.add(("a", -1))
    queue.clear()
    assert not len(queue) and list(queue) == []
