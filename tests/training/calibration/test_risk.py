"""The risk-coverage table and its bounds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta

from app.checkpoint.calibration import APART, FORMAT_VERSION, Calibration, ConformalScores
from app.training.calibration.risk import LEVELS, risk_levels, upper_bound


@given(st.integers(1, 3000), st.floats(0, 1), st.sampled_from([0.05, 0.0025]))
def test_bounds_against_scipy(rows: int, share: float, alpha: float) -> None:
    errors = round(rows * share)
    expected = 1.0 if errors == rows else float(beta.ppf(1 - alpha, errors + 1, rows - errors))
    assert upper_bound(errors, rows, alpha) == pytest.approx(expected, rel=1e-6)


def test_the_table_by_hand() -> None:
    scores_N = np.asarray([0.9] * 10 + [0.5] * 10)
    right_N = np.asarray([True] * 9 + [False] + [True] * 5 + [False] * 5)
    strict, lenient = risk_levels(scores_N, right_N)
    assert (strict.score, strict.answered, strict.errors) == (0.9, 0.5, 0.1)
    assert (lenient.score, lenient.answered, lenient.errors) == (0.5, 1.0, 0.3)
    assert strict.bound == pytest.approx(upper_bound(1, 10, 0.025))


def test_equal_scores_form_one_level() -> None:
    assert len(risk_levels(np.full(1000, 0.7), np.arange(1000) % 4 > 0)) == 1
    assert len(risk_levels(np.random.default_rng(0).random(5000), np.ones(5000, dtype=np.bool_))) == LEVELS


def test_the_chosen_threshold_keeps_the_true_risk() -> None:
    """Over many data sets, the true error rate above the chosen threshold rarely exceeds the limit.

    The true error rate of a score s is (1 - s) / 5, so the mean rate above a threshold t is (1 - t) / 10.
    """
    random, exceeded, answered, limit = np.random.default_rng(8), 0, [], 0.05
    for _ in range(400):
        scores_N = random.random(1000)
        table = risk_levels(scores_N, random.random(1000) > (1 - scores_N) / 5)
        made = Calibration(
            format_version=FORMAT_VERSION, rows=1000, method=APART, scale=[], bias=[], scores=ConformalScores(1, [0.5]),
            risk=table,
        )  # fmt: skip
        chosen = made.level(limit)
        assert (made.least_risk <= limit) == (chosen is not None)
        if chosen is not None:
            exceeded += (1 - chosen.score) / 10 > limit
            answered.append(chosen.answered)
    assert 0 < exceeded <= 14, "more than 1 - CONFIDENCE of the data sets, with three standard errors"
    assert len(answered) > 150 and np.mean(answered) > 0.25
