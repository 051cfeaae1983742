"""A complete calibration: the fitted values and the measurements of their quality."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app.checkpoint.calibration import APART, Calibration
from app.training.calibration.calibrate import CalibrationRows, apply, calibrate, evidence, own_evidence
from app.training.calibration.reliability import sigmoid, softmax
from app.training.loop.evaluate import measure
from app.training.prepare.dataset import Facts

Array = NDArray[Any]
LABELS = ["a", "b", "c"]
CLASSES = Facts("classification", "tokens", "rows", labels=LABELS)
TAGS = Facts("multilabel", "tokens", "rows", labels=LABELS)
VALUES = Facts("regression", "tokens", "rows", target={"mean": 10.0, "std": 4.0})
ROWS = 3000


def overconfident(rows: int = ROWS, seed: int = 1) -> tuple[Array, Array]:
    random = np.random.default_rng(seed)
    logits_NC = random.normal(size=(rows, 3)) * 1.5
    return logits_NC * 3, np.asarray([random.choice(3, p=p) for p in softmax(logits_NC)])


def test_labels_stay_and_probabilities_become_right() -> None:
    made = calibrate(CLASSES, CalibrationRows(*overconfident(), APART))
    new_NC, targets_N = overconfident(seed=2)
    figures = evidence(CLASSES, made, new_NC, targets_N)
    assert figures["ece_uncalibrated"] > 0.15 and figures["ece"] < 0.03
    assert own_evidence(made)["ece_uncalibrated"] == pytest.approx(figures["ece_uncalibrated"], abs=0.03)
    assert own_evidence(made)["ece"] < 0.03
    assert made.scale == [pytest.approx(1 / 3, abs=0.02)] and made.bias == []
    assert (apply(made, new_NC).argmax(1) == new_NC.argmax(1)).all()
    assert figures["sets_90"]["coverage"] == pytest.approx(0.9, abs=0.02)
    assert 1 < figures["sets_90"]["mean_size"] < figures["sets_95"]["mean_size"] < 3


def shifted(seed: int) -> tuple[Array, Array]:
    """Logits of a network that was trained with different label frequencies."""
    logits_NC, targets_N = overconfident(seed=seed)
    return logits_NC / 3 + np.asarray([2.0, 0.0, -2.0]), targets_N


def test_a_bias_is_fitted_if_it_helps() -> None:
    made = calibrate(CLASSES, CalibrationRows(*shifted(1), APART))
    assert made.bias == pytest.approx([-2, 0, 2], abs=0.3)
    new_NC, targets_N = shifted(2)
    before, after = (measure(CLASSES, z, targets_N)["macro_f1"] for z in (new_NC, apply(made, new_NC)))
    assert after > before + 0.05


def test_no_bias_against_class_weights_or_macro_f1_or_with_few_rows() -> None:
    outputs_NC, targets_N = shifted(1)
    assert calibrate(CLASSES, CalibrationRows(outputs_NC, targets_N, APART), weighted=True).bias == []
    few = np.concatenate([np.flatnonzero(targets_N == label)[:count] for label, count in enumerate((400, 400, 15))])
    assert calibrate(CLASSES, CalibrationRows(outputs_NC[few], targets_N[few], APART)).bias == []
    random = np.random.default_rng(3)  # a bias would suppress this rare label, which the network favours
    rare_N = (random.random(ROWS) < 0.1).astype(np.int64)
    score_N = random.normal(size=ROWS) + 1.5 * rare_N
    favoured_NC = np.stack([0 * score_N, 1.5 * score_N - 2.0, np.full(ROWS, -9.0)], 1)
    targets_N = np.where(random.random(ROWS) < 0.02, 2, rare_N)
    assert calibrate(CLASSES, CalibrationRows(favoured_NC, targets_N, APART)).bias == []


def tagged(seed: int) -> tuple[Array, Array]:
    random = np.random.default_rng(seed)
    logits_NC = random.normal(size=(ROWS, 3)) * 2
    targets_NC = (random.random((ROWS, 3)) < sigmoid(logits_NC)).astype(np.uint8)
    return logits_NC * np.asarray([4.0, 1.0, 0.4]) + np.asarray([0.0, 2.0, -1.0]), targets_NC


def test_each_of_several_labels_has_its_own_scale_and_bias() -> None:
    made = calibrate(TAGS, CalibrationRows(*tagged(1), APART))
    assert made.scale == pytest.approx([0.25, 1.0, 2.5], rel=0.1)
    assert made.bias == pytest.approx([0, -2, 2.5], abs=0.4)
    figures = evidence(TAGS, made, *tagged(2))
    assert figures["ece_uncalibrated"] > 0.1 and figures["ece"] < 0.02
    assert figures["sets_90"]["coverage"] == pytest.approx(0.9, abs=0.02)
    assert made.label_scores == [] and made.risk


def test_the_intervals_of_a_regression_are_in_the_units_of_the_data() -> None:
    random = np.random.default_rng(5)
    values_N1 = random.normal(size=(ROWS, 1))
    targets_N = (values_N1[:, 0] + random.normal(size=ROWS)).astype(np.float32)
    made = calibrate(VALUES, CalibrationRows(values_N1[:1000], targets_N[:1000], APART))
    assert made.scores.quantile(0.9) == pytest.approx(4 * 1.645, rel=0.1)
    assert apply(made, values_N1) is values_N1 and own_evidence(made) == {}
    figures = evidence(VALUES, made, values_N1[1000:], targets_N[1000:])
    assert figures["intervals_90"]["coverage"] == pytest.approx(0.9, abs=0.03)
    assert figures["intervals_95"]["mean_width"] > figures["intervals_90"]["mean_width"]


def test_equal_rows_give_an_equal_calibration() -> None:
    made: list[Calibration] = [calibrate(CLASSES, CalibrationRows(*overconfident(), APART)) for _ in range(2)]
    assert made[0] == made[1]
