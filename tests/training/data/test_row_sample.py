"""The number of rows that a version was trained on is estimated from a sample of their hashes."""

from __future__ import annotations

import numpy as np
import pytest

from app.training.data.row_sample import count_trained, row_sample


def hashes(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**64, count, dtype=np.uint64)


def test_rows_of_small_data_are_counted_exactly() -> None:
    train, other = hashes(900, 1), hashes(500, 2)
    sample = row_sample(np.concatenate([train, train[:50]]))
    assert (sample["distinct"], len(sample["hashes"])) == (900, 900)
    assert count_trained(sample, np.concatenate([other, train[:7], train[:1]])) == (8, True)
    assert count_trained(sample, other) == (0, True)
    assert count_trained(sample, train[:0]) == (0, True)


@pytest.mark.parametrize("share", [1.0, 0.5, 0.1])
def test_rows_of_large_data_are_estimated(share: float) -> None:
    train, other = hashes(200_000, 1), hashes(100_000, 2)
    sample = row_sample(train)
    assert (sample["distinct"], len(sample["hashes"])) == (200_000, 1000)
    sampled = int(share * 100_000)
    count, is_exact = count_trained(sample, np.concatenate([train[:sampled], other[sampled:]]))
    assert not is_exact and abs(count / sampled - 1) < 0.25
    assert count_trained(sample, other)[0] == 0


@pytest.mark.parametrize(
    "sample",
    [
        None,
        {},
        [],
        {"hashes": ["x"], "distinct": 1},
        {"hashes": [1], "distinct": 1},
        {"hashes": ["f" * 40], "distinct": 1},
        {"hashes": ["1"], "distinct": None},
        {"hashes": 3, "distinct": 1},
    ],
)
def test_an_invalid_sample_counts_nothing(sample: object) -> None:
    assert count_trained(sample, hashes(10, 1)) == (0, True)
