"""Which rows are held out: by what they say alone, some of each label, and no text on both sides."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.training.data.columns import TRAIN, UNASSIGNED, VALIDATION
from app.training.data.splits import assign

NAMES = [("a",), ("b",), ("a", "b"), ()]


def split(strata: list[int], hashes: list[int], fraction: float = 0.1) -> NDArray[np.bool_]:
    """Which rows are held out; a stratum is a label."""
    names = [(f"{stratum:05}",) for stratum in range(max(strata) + 1)]
    return split_sets([names[stratum] for stratum in strata], hashes, fraction)


def split_sets(sets: list[tuple[str, ...]], hashes: list[int], fraction: float = 0.1) -> NDArray[np.bool_]:
    numbers = {labels: number for number, labels in enumerate(dict.fromkeys(sets))}
    strata_N = np.asarray([numbers[labels] for labels in sets], dtype=np.int64)
    open_N = np.full(len(sets), UNASSIGNED, dtype=np.uint8)
    found_N = assign(open_N, strata_N, np.asarray(hashes, dtype=np.uint64), fraction, list(numbers))
    assert set(found_N.tolist()) <= {TRAIN, VALIDATION}
    return np.equal(found_N, VALIDATION)


def draws(count: int, seed: int = 1) -> list[int]:
    return random.Random(seed).sample(range(2**62), count)


@settings(max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2**20)), min_size=1, max_size=200), st.floats(0.01, 0.9))
def test_splits_follow_the_texts(rows: list[tuple[int, int]], fraction: float) -> None:
    sets, hashes = [NAMES[stratum] for stratum, _ in rows], [digest for _, digest in rows]
    held_N = split_sets(sets, hashes, fraction)
    assert (split_sets(sets[::-1], hashes[::-1], fraction)[::-1] == held_N).all()
    sides = {side: {digest for digest, held in zip(hashes, held_N, strict=True) if held == side} for side in (0, 1)}
    assert not sides[0] & sides[1]
    for label in {label for labels in sets for label in labels}:
        assert any(label in labels and not held for labels, held in zip(sets, held_N, strict=True))


@settings(max_examples=60)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=200), st.floats(0.01, 0.9))
@example([0] * 15 + [1, 2], 0.390625)  # labels of one row, whose shares nobody else is to make up for
def test_a_share_of_each_label_is_held_out(strata: list[int], fraction: float) -> None:
    held_N = split(strata, draws(len(strata)), fraction)
    for stratum in set(strata):
        of_it = np.equal(strata, stratum)
        share = of_it.sum() * fraction
        assert abs((held_N & of_it).sum() - share) <= 1
    assert len(strata) == len(set(strata)) or held_N.any()


def test_given_splits_stay() -> None:
    given_N = np.asarray([0, 1, 2, 0, 0], dtype=np.uint8)
    hashes_N = np.arange(5, dtype=np.uint64)
    assert assign(given_N, np.zeros(5, np.int64), hashes_N, 0.5, [()]).tolist() == [0, 1, 2, 0, 0]


@pytest.mark.parametrize(("labels", "rows"), [(200, 3), (300, 2), (120, 5)])
def test_rare_labels_are_held_out_together(labels: int, rows: int) -> None:
    strata = list(range(labels)) * rows
    held_N = split(strata, draws(len(strata)))
    assert held_N.sum() == max(len(strata) // 10, labels if rows >= 4 else 0)
    assert max(Counter(np.asarray(strata)[held_N].tolist()).values()) == 1


@pytest.mark.parametrize("labels", [6, 12, 60])
def test_labels_that_come_in_any_combination_are_each_held_out(labels: int) -> None:
    """Nearly every row has a set of its own."""
    draw = random.Random(3)
    names = [f"label{n:02}" for n in range(labels)]
    sets = [tuple(sorted(draw.sample(names, draw.randint(0, labels // 2)))) for _ in range(400)]
    held_N = split_sets(sets, draws(400))
    assert 36 <= held_N.sum() <= 52
    for name in names:
        having_N = np.asarray([name in labels for labels in sets])
        assert 0.02 <= (held_N & having_N).sum() / having_N.sum() <= 0.2


@pytest.mark.parametrize("first", [0, 2**63])
def test_a_text_that_comes_often_does_not_take_a_label_along(first: int) -> None:
    """Whatever its hash: half of a label's rows are the same text."""
    hashes = [first] * 50 + draws(50)
    held_N = split([0] * 100, hashes)
    assert held_N[:50].sum() == 0 and held_N[50:].sum() == 10


def test_where_every_text_comes_often_one_is_held_out() -> None:
    held_N = split([0] * 50 + [1] * 50, [1] * 20 + [2] * 30 + [3] * 50)
    assert held_N.tolist() == [True] * 20 + [False] * 80
    assert not split([0, 1], [5, 6]).any()  # a label with one row is to be learned
    assert split([0, 0], [5, 6]).tolist() == [True, False]
