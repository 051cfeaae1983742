"""Prediction sets and intervals, compared with MAPIE."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from mapie.classification import SplitConformalClassifier
from mapie.regression import SplitConformalRegressor
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

from app.checkpoint.calibration import APART, FORMAT_VERSION, Calibration
from app.training.calibration.conformal import LABEL_ROWS, label_scores, nonconformity, scores, set_figures
from app.training.calibration.reliability import softmax

Array = NDArray[Any]
COVERAGES = (0.5, 0.9, 0.95, 0.99)


class FittedIdentity(ClassifierMixin, RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """A fitted estimator that returns its inputs."""

    def __init__(self, labels: int) -> None:
        self.labels, self.classes_, self.n_features_in_, self.is_fitted_ = labels, np.arange(labels), labels, True

    def fit(self, x: Array, y: Array) -> FittedIdentity:
        return self

    def predict(self, x: Array) -> Array:
        return x[:, 0] if self.labels == 1 else x.argmax(1)

    def predict_proba(self, x: Array) -> Array:
        return x


def drawn(rows: int, seed: int, labels: int = 5) -> tuple[Array, Array]:
    random = np.random.default_rng(seed)
    probs_NC = softmax(random.normal(size=(rows, labels)) * 2)
    return probs_NC, np.asarray([random.choice(labels, p=p) for p in probs_NC])


def calibration(task: str, outputs_NC: Array, targets: Array) -> Calibration:
    values_N = nonconformity(task, outputs_NC, targets)
    own = label_scores(values_N, targets, outputs_NC.shape[1]) if task == "classification" else []
    return Calibration(
        format_version=FORMAT_VERSION, rows=len(targets), method=APART, scale=[], bias=[], scores=scores(values_N),
        label_scores=own,
    )  # fmt: skip


@pytest.mark.parametrize("coverage", COVERAGES)
def test_sets_against_mapie(coverage: float) -> None:
    (probs_NC, targets_N), (new_NC, _) = drawn(777, 1), drawn(300, 2)
    oracle = SplitConformalClassifier(FittedIdentity(5), confidence_level=coverage, conformity_score="lac", prefit=True)
    oracle.conformalize(probs_NC, targets_N)
    expected_NC = oracle.predict_set(new_NC)[1][:, :, 0]
    quantile = scores(nonconformity("classification", probs_NC, targets_N)).quantile(coverage)
    assert quantile is not None
    np.testing.assert_array_equal(1.0 - new_NC <= quantile, expected_NC)


@pytest.mark.parametrize("coverage", COVERAGES)
def test_intervals_against_mapie(coverage: float) -> None:
    random = np.random.default_rng(3)
    values_N1 = random.normal(size=(500, 1))
    targets_N = values_N1[:, 0] + random.normal(size=500)
    oracle = SplitConformalRegressor(FittedIdentity(1), confidence_level=coverage, prefit=True)
    oracle.conformalize(values_N1, targets_N)
    expected = oracle.predict_interval(values_N1[:5])[1][:, :, 0]
    quantile = scores(nonconformity("regression", values_N1, targets_N)).quantile(coverage)
    assert quantile is not None
    np.testing.assert_allclose(values_N1[:5] + np.asarray([[-quantile, quantile]]), expected)


@pytest.mark.parametrize("task", ["classification", "multilabel", "regression"])
def test_new_rows_are_covered_as_often_as_promised(task: str) -> None:
    """The mean coverage over many splits is at least the guaranteed coverage, and only slightly higher."""
    covered = {0.8: [], 0.9: []}  # type: dict[float, list[float]]
    random = np.random.default_rng(4)
    for _ in range(60):
        if task == "classification":
            outputs_NC, targets = drawn(400, int(random.integers(1 << 30)))
        elif task == "multilabel":
            outputs_NC = random.random((400, 3))
            targets = (random.random((400, 3)) < outputs_NC).astype(np.uint8)
        else:
            outputs_NC = random.normal(size=(400, 1))
            targets = outputs_NC[:, 0] + random.normal(size=400)
        fitted = calibration(task, outputs_NC[:200], targets[:200])
        for coverage, shares in covered.items():
            figures = set_figures(fitted, task, outputs_NC[200:], targets[200:], coverage)
            assert figures is not None
            shares.append(figures["coverage"])
    for coverage, shares in covered.items():
        assert coverage - 0.015 <= np.mean(shares) <= coverage + 0.03


def test_each_label_is_covered_if_each_has_enough_rows() -> None:
    """A label that the network rarely predicts correctly is missing from sets with one quantile for all labels, but not
    from sets with its own quantile."""
    random = np.random.default_rng(6)
    targets_N = (random.random(2000) < 0.1).astype(np.int64)
    scores_N = np.where(targets_N == 1, random.beta(2, 6, 2000), random.beta(1, 9, 2000))
    probs_NC = np.stack([1 - scores_N, scores_N], 1)
    values_N = nonconformity("classification", probs_NC, targets_N)
    marginal = scores(values_N).quantile(0.9)
    own = label_scores(values_N, targets_N, 2)
    assert marginal is not None and len(own) == 2
    rare = targets_N == 1
    assert (values_N[rare] <= marginal).mean() < 0.6
    assert (values_N[rare] <= (own[1].quantile(0.9) or 0)).mean() >= 0.9


def test_a_label_with_few_rows_prevents_quantiles_of_single_labels() -> None:
    targets_N = np.asarray([0] * 500 + [1] * (LABEL_ROWS - 1))
    assert label_scores(np.zeros(len(targets_N)), targets_N, 2) == []
    assert len(label_scores(np.zeros(len(targets_N) + 1), np.append(targets_N, 1), 2)) == 2
