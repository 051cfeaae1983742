"""The probes of a training run: evenly spaced inputs of the validation data, shortened, and not too many."""

from __future__ import annotations

import numpy as np

from app.training.prepare.dataset import Facts, Rows, Stream
from app.training.report.probes import of_validation
from app.wire.probes import LIMIT, MOST, STEPS, VALIDATION, encode

TOKENS = Facts("classification", "tokens", "rows")


def rows(count: int, length: int, features: int = 0) -> Rows:
    offsets_N1 = np.arange(count + 1) * length
    flat = np.arange(count * length, dtype=np.int32)
    if features:
        flat = np.ones((count * length, features), dtype=np.float32)
    return Rows(flat, offsets_N1, np.zeros(count, dtype=np.int64))


def test_few_rows_are_all_kept() -> None:
    probes = of_validation(TOKENS, rows(3, 2))
    assert (probes.source, probes.sequences, probes.features) == (VALIDATION, [[0, 1], [2, 3], [4, 5]], [])


def test_many_long_rows_are_sampled_and_cut() -> None:
    probes = of_validation(TOKENS, rows(2 * MOST, STEPS + 9))
    assert len(probes) == MOST and {len(row) for row in probes.sequences} == {STEPS}
    assert probes.sequences[0][0] == 0 and probes.sequences[-1][0] == (2 * MOST - 1) * (STEPS + 9)


def test_numbers_of_many_features_stay_within_the_limit() -> None:
    for features in (1, 100, 3000):
        facts = Facts("classification", "features", "rows", features=features)
        probes = of_validation(facts, rows(MOST, 300 if features < 1000 else 3, features))
        assert len(probes) == MOST and len(encode(probes)) <= LIMIT
        assert all(len(row.data) == 4 * row.steps * row.features for row in probes.features)


def test_a_text_is_cut_into_windows() -> None:
    facts = Facts("generation", "tokens", "stream")
    probes = of_validation(facts, Stream(np.arange(105, dtype=np.int32), 0, context=5))
    assert probes.sequences == [list(range(5, 69))]
    long = of_validation(facts, Stream(np.arange(300_000, dtype=np.int32), 0))
    assert len(long) == MOST and {len(row) for row in long.sequences} == {STEPS}
    assert len(of_validation(facts, Stream(np.arange(3, dtype=np.int32), 0)).sequences[0]) == 3
