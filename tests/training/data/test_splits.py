"""Held-out rows depend only on the content. They include some rows of each label, and no text that is also used for
training."""

from __future__ import annotations

import random
import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.training.data.example import TEST, TRAIN, UNASSIGNED, VALIDATION
from app.training.data.splits import assign
from tests.training.data.rescanned_splits import assign_by_rescanning

NAMES = [("a",), ("b",), ("a", "b"), ()]


def split(strata: list[int], hashes: list[int], fraction: float = 0.1) -> NDArray[np.bool_]:
    """The mask of the held-out rows. Each stratum is a label."""
    names = [(f"{stratum:05}",) for stratum in range(max(strata) + 1)]
    return split_sets([names[stratum] for stratum in strata], hashes, fraction)


def split_sets(sets: list[tuple[str, ...]], hashes: list[int], fraction: float = 0.1) -> NDArray[np.bool_]:
    """The mask of the held-out rows. `sets` contains the labels of each row."""
    numbers = {labels: number for number, labels in enumerate(dict.fromkeys(sets))}
    strata_N = np.asarray([numbers[labels] for labels in sets], dtype=np.int64)
    open_N = np.full(len(sets), UNASSIGNED, dtype=np.uint8)
    splits_N = assign(open_N, strata_N, np.asarray(hashes, dtype=np.uint64), fraction, list(numbers))
    assert set(splits_N.tolist()) <= {TRAIN, VALIDATION}
    return np.equal(splits_N, VALIDATION)


def draws(count: int, seed: int = 1) -> list[int]:
    """Distinct random hashes."""
    return random.Random(seed).sample(range(2**62), count)


@settings(max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2**20)), min_size=1, max_size=200), st.floats(0.01, 0.9))
def test_splits_depend_on_content_alone_and_keep_equal_texts_together(
    rows: list[tuple[int, int]], fraction: float
) -> None:
    sets, hashes = [NAMES[stratum] for stratum, _ in rows], [digest for _, digest in rows]
    held_N = split_sets(sets, hashes, fraction)
    assert (split_sets(sets[::-1], hashes[::-1], fraction)[::-1] == held_N).all()
    sides = {side: {digest for digest, held in zip(hashes, held_N, strict=True) if held == side} for side in (0, 1)}
    assert not sides[0] & sides[1]
    for label in {label for labels in sets for label in labels}:
        assert any(label in labels and not held for labels, held in zip(sets, held_N, strict=True))


@settings(max_examples=60)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=200), st.floats(0.01, 0.9))
@example([0] * 15 + [1, 2], 0.390625)  # the shares of labels with one row must not fall to the others
def test_a_share_of_each_label_is_held_out(strata: list[int], fraction: float) -> None:
    held_N = split(strata, draws(len(strata)), fraction)
    for stratum in set(strata):
        rows_N = np.equal(strata, stratum)
        share = rows_N.sum() * fraction
        assert abs((held_N & rows_N).sum() - share) <= 1
    assert len(strata) == len(set(strata)) or held_N.any()


@pytest.mark.parametrize("splits", [[], [2, 2]])
def test_without_train_rows_nothing_is_held_out(splits: list[int]) -> None:
    splits_N = np.asarray(splits, dtype=np.uint8)
    strata_N, hashes_N = np.zeros(len(splits), np.int64), np.arange(len(splits), dtype=np.uint64)
    assert assign(splits_N, strata_N, hashes_N, 0.5, [()]).tolist() == splits


def test_given_splits_are_kept() -> None:
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
def test_each_label_is_held_out_where_labels_are_combined_freely(labels: int) -> None:
    """Nearly every row has a different set of labels."""
    draw = random.Random(3)
    names = [f"label{n:02}" for n in range(labels)]
    sets = [tuple(sorted(draw.sample(names, draw.randint(0, labels // 2)))) for _ in range(400)]
    held_N = split_sets(sets, draws(400))
    assert 36 <= held_N.sum() <= 52
    for name in names:
        labelled_N = np.asarray([name in labels for labels in sets])
        assert 0.02 <= (held_N & labelled_N).sum() / labelled_N.sum() <= 0.2


@pytest.mark.parametrize("first", [0, 2**63])
def test_a_frequent_text_does_not_take_up_the_share_of_its_label(first: int) -> None:
    """Half of the rows of a label have the same text. Its hash is the smallest or a large one."""
    hashes = [first] * 50 + draws(50)
    held_N = split([0] * 100, hashes)
    assert held_N[:50].sum() == 0 and held_N[50:].sum() == 10


def test_the_smallest_group_is_held_out_where_every_text_is_frequent() -> None:
    held_N = split([0] * 50 + [1] * 50, [1] * 20 + [2] * 30 + [3] * 50)
    assert held_N.tolist() == [True] * 20 + [False] * 80
    assert not split([0, 1], [5, 6]).any()  # the only row of a label must be learned
    assert split([0, 0], [5, 6]).tolist() == [True, False]


@settings(max_examples=200)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 60), st.integers(0, 3)), min_size=1, max_size=150),
    st.floats(0.01, 0.9),
)
def test_every_row_is_assigned_as_by_the_reference(rows: list[tuple[int, int, int]], fraction: float) -> None:
    strata = [*[(name,) for name in "abcdef"], ("a", "b"), ("b", "c", "f"), ("e", "f"), ()]
    strata_N = np.asarray([stratum for stratum, _, _ in rows], dtype=np.int64)
    hashes_N = np.asarray([digest for _, digest, _ in rows], dtype=np.uint64)
    splits_N = np.asarray([(UNASSIGNED, UNASSIGNED, TRAIN, TEST)[split] for _, _, split in rows], dtype=np.uint8)
    assume((splits_N != TEST).any())  # the reference fails if there is no row to draw from
    arguments = splits_N, strata_N, hashes_N, fraction, strata
    assert assign(*arguments).tolist() == assign_by_rescanning(*arguments).tolist()


def test_many_labels_are_assigned_as_by_the_reference() -> None:
    names = [f"{n}" for n in range(300)]
    draw = random.Random(5)
    strata = [tuple(sorted(draw.sample(names, draw.randint(0, 4)))) for _ in range(1000)]
    strata_N = np.asarray([draw.randrange(1000) for _ in range(5000)], dtype=np.int64)
    hashes_N = np.asarray([draw.randrange(4000) for _ in range(5000)], dtype=np.uint64)
    arguments = np.full(5000, UNASSIGNED, dtype=np.uint8), strata_N, hashes_N, 0.15, strata
    assert assign(*arguments).tolist() == assign_by_rescanning(*arguments).tolist()


def seconds_to_assign(labels: int) -> float:
    """The processor time for assigning five rows of each of `labels` labels."""
    strata_N = np.tile(np.arange(labels), 5)
    hashes_N = np.asarray(draws(len(strata_N)), dtype=np.uint64)
    strata = [(f"{label}",) for label in range(labels)]
    open_N = np.full(len(strata_N), UNASSIGNED, dtype=np.uint8)
    start = time.thread_time()
    assign(open_N, strata_N, hashes_N, 0.1, strata)
    return time.thread_time() - start


def test_assigning_takes_time_in_proportion_to_the_rows() -> None:
    """Compares two sizes in one process. With 16 times as many rows, the time grows about 16-fold, and not 256-fold."""
    small, large = (min(seconds_to_assign(labels) for _ in range(3)) for labels in (1_000, 16_000))
    assert large < 48 * small
