"""The thresholds of a calibration, measured with the probabilities that the version returns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from app.checkpoint.calibration import Calibration, ConformalScores, RiskLevel
from app.training.evaluation.scores import score
from app.training.evaluation.thresholds import measure_thresholds
from app.training.prepare.dataset import Facts

LEVELS = [RiskLevel(0.995, 0.1, 0.0, 0.5), RiskLevel(0.8, 0.5, 0.0, 0.2), RiskLevel(0.5, 1.0, 0.1, 0.3)]
CALIBRATION = Calibration(
    format_version=1, rows=40, method="cross-fitted", scale=[1.0], bias=[],
    scores=ConformalScores(rows=1, values=[0.5]), risk=LEVELS,
)  # fmt: skip


def logits_of(probabilities: list[float]) -> list[float]:
    return [float(np.log(p)) for p in probabilities]


def facts_of(task: Any) -> Facts:
    return Facts(task, "tokens", "labelled", labels=["a", "b"])


def test_a_certain_mistake_counts_at_each_threshold_that_it_exceeds() -> None:
    outputs_NC = np.asarray([logits_of(p) for p in ([0.99, 0.01], [0.9, 0.1], [0.4, 0.6], [0.3, 0.7])])
    scores = score(facts_of("classification"), ["a", "b"], outputs_NC, np.asarray([1, 0, 1, 1]))
    assert measure_thresholds(CALIBRATION, scores) == [
        {"score": 0.995, "answered": 0.0, "errors": None},
        {"score": 0.8, "answered": 0.5, "errors": 0.5},
        {"score": 0.5, "answered": 1.0, "errors": 0.25},
    ]
    assert scores.confidence(0) == pytest.approx(0.99)


def test_an_answer_with_several_labels_has_the_score_of_its_least_certain_decision() -> None:
    outputs_NC = np.asarray([[3.0, -0.5], [3.0, -3.0]])  # the probabilities are about 0.95 and 0.38, 0.95 and 0.05
    scores = score(facts_of("multilabel"), ["a", "b"], outputs_NC, np.asarray([[1.0, 1.0], [1.0, 0.0]]))
    assert scores.confidence(0) == pytest.approx(1 - 1 / (1 + np.exp(0.5)))
    measured = measure_thresholds(CALIBRATION, scores)
    assert [(each["answered"], each["errors"]) for each in measured] == [(0.0, None), (0.5, 0.0), (1.0, 0.5)]


def test_numbers_and_versions_without_a_calibration_have_no_thresholds() -> None:
    facts = Facts("regression", "tokens", "labelled", target={"mean": 0.0, "std": 1.0})
    scores = score(facts, [], np.asarray([[1.0]]), np.asarray([1.0]))
    assert measure_thresholds(CALIBRATION, scores) == measure_thresholds(None, scores) == []
    assert scores.task == "regression"
