"""Batches of several owners respect the limits, and no owner delays another for long."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.engine.turn_batcher import TurnBatcher

Row = tuple[str, int, int]  # owner, number, length
ROWS = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 200)), max_size=60)


def batcher(tokens: int, rows: int, enough: int, dense: bool) -> TurnBatcher[Row]:
    return TurnBatcher(tokens, rows, enough, dense, lambda row: row[0], lambda row: row[2])


@given(
    rows=ROWS, tokens=st.integers(1, 1000), most=st.integers(1, 20), dense=st.booleans(),
    discarded=st.sets(st.integers(0, 59)),
)  # fmt: skip
def test_every_batch_keeps_its_bounds_and_owners_take_turns(
    rows: list[tuple[str, int]], tokens: int, most: int, dense: bool, discarded: set[int]
) -> None:
    queue = batcher(tokens, most, tokens // 2 + 1, dense)
    for number, (owner, length) in enumerate(rows):
        queue.add(length, (owner, number, length))
    queue.discard(lambda row: row[1] in discarded)
    left = [(owner, number, length) for number, (owner, length) in enumerate(rows) if number not in discarded]
    assert len(queue) == len(left)
    delays: dict[str, int] = {}
    while left:
        batch, waiting = queue.next_batch(), {row[0] for row in left}
        lengths = [row[2] for row in batch]
        assert len(batch) == 1 or len(batch) * max(lengths) <= tokens
        assert 1 <= len(batch) <= most and set(batch) <= set(left)
        owners = {row[0] for row in batch}
        for owner in owners:
            assert next(row for row in left if row[0] == owner) in batch  # its oldest row
        delays = {owner: 0 if owner in owners else delays.get(owner, 0) + 1 for owner in waiting}
        assert max(delays.values()) < 4  # the number of owners
        left = [row for row in left if row not in batch]
    assert queue.next_batch() == [] and len(queue) == 0


def test_batches_are_joined_until_they_are_large_enough() -> None:
    queue = batcher(1000, 100, 100, dense=False)
    for owner in "abcd":
        for number in range(5):
            queue.add(10, (owner, number, 10))
    assert [[row[0] for row in queue.next_batch()] for _ in range(3)] == [[*"aaaaabbbbb"], [*"cccccddddd"], []]


def test_dense_batches_are_not_joined_if_they_would_be_mostly_padding() -> None:
    for dense in (True, False):
        queue = batcher(10_000, 100, 10_000, dense)
        for number in range(20):
            queue.add(1, ("a", number, 1))
        queue.add(100, ("b", 0, 100))
        assert len(queue.next_batch()) == (20 if dense else 21)
