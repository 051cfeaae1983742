"""Batches respect the limits, contain the oldest row, lose no rows, and consist of rows of similar length."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from app.engine.batcher import Batcher


@given(
    lengths=st.lists(st.integers(1, 200), max_size=80),
    budget=st.integers(1, 1000),
    rows=st.integers(1, 20),
    discarded=st.sets(st.integers(0, 79)),
)
def test_every_batch_keeps_its_bounds_and_holds_the_oldest(
    lengths: list[int], budget: int, rows: int, discarded: set[int]
) -> None:
    batcher: Batcher[int] = Batcher(budget, rows)
    for index, length in enumerate(lengths):
        batcher.add(length, index)
    batcher.discard(discarded.__contains__)
    left = [i for i in range(len(lengths)) if i not in discarded]
    assert len(batcher) == len(left)
    while left:
        batch = batcher.next_batch()
        assert left[0] in batch
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget
        assert len(batch) <= rows
        assert [lengths[i] for i in batch] == sorted(lengths[i] for i in batch)
        left = [i for i in left if i not in set(batch)]
    assert batcher.next_batch() == [] and len(batcher) == 0


def test_a_single_row_is_a_batch_at_once() -> None:
    batcher: Batcher[str] = Batcher(100)
    batcher.add(5, "only")
    assert batcher.next_batch() == ["only"]


def test_rows_of_similar_length_share_a_batch() -> None:
    """With 64 clients that send a new row after each answer, there is little padding and few calls."""
    random.seed(1)
    batcher: Batcher[int] = Batcher(4096)
    for _ in range(64):
        length = random.randint(5, 150)
        batcher.add(length, length)
    real = padded = calls = 0
    for _ in range(200):
        batch = batcher.next_batch()
        real, padded, calls = real + sum(batch), padded + len(batch) * max(batch), calls + 1
        for _ in batch:
            length = random.randint(5, 150)
            batcher.add(length, length)
    assert padded / real < 1.2
    assert real / calls > 500
