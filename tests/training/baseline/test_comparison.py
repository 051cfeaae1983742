from typing import Any

import numpy as np

from app.training.baseline.comparison import compare
from app.training.baseline.result import Fitted, Predictions

TARGETS = np.arange(40) % 2
RIGHT = np.eye(2)[TARGETS]  # the logits of a network that is always right


def _fitted(predicted: np.ndarray, rows: np.ndarray | None = None, **report: Any) -> Fitted:
    rows = np.arange(len(TARGETS)) if rows is None else rows
    split = {"rows": len(rows), "of": 40, "accuracy": float((predicted == TARGETS[rows]).mean())}
    values = {"model": "linear", "description": "d", "train": {"rows": 90, "of": 90}, "splits": {"test": split}}
    return Fitted(values | report, {"test": Predictions(rows, predicted)})


def _compared(fitted: Fitted, outputs: np.ndarray = RIGHT) -> dict[str, Any]:
    metrics = {"validation": {"accuracy": 0.5}, "test": {"accuracy": 1.0}}
    report = compare(fitted, "classification", "gru", metrics, {"test": (outputs, TARGETS)})
    assert report is not None
    return report


def test_the_summary_says_what_both_models_reach() -> None:
    predicted = np.where(np.arange(40) < 4, 1 - TARGETS, TARGETS)
    report = _compared(_fitted(predicted))
    expected = "gru: 1.000 test accuracy; a linear model on the same rows: 0.900 (McNemar p = 0.125)"
    assert report["summary"] == expected
    assert report["comparison"] == {
        "split": "test", "metric": "accuracy", "network": 1.0, "baseline": 0.9, "test": "McNemar", "p": 0.125,
    }  # fmt: skip


def test_the_summary_says_if_the_linear_model_is_better() -> None:
    wrong = RIGHT.copy()
    wrong[:12] = 1 - wrong[:12]
    summary = _compared(_fitted(TARGETS), wrong)["summary"]
    assert summary.endswith("a linear model on the same rows: 1.000 (McNemar p < 0.001): the linear model is better")


def test_the_baseline_of_a_linear_model_has_another_name() -> None:
    outputs = {"test": (RIGHT, TARGETS)}
    report = compare(_fitted(TARGETS), "classification", "linear", {"test": {"accuracy": 1.0}}, outputs)
    assert report is not None
    assert report["summary"].startswith("linear: 1.000 test accuracy; a linear SVM on the same rows: 1.000 ")
    outputs["test"] = (-RIGHT, TARGETS)
    report = compare(_fitted(TARGETS), "classification", "linear", {"test": {"accuracy": 0.0}}, outputs)
    assert report is not None and report["summary"].endswith(": the linear SVM is better")


def test_a_part_of_the_rows_is_said() -> None:
    rows = np.arange(0, 40, 2)
    wrong = RIGHT.copy()
    wrong[1::2] = 1 - wrong[1::2]  # rows that were not measured
    report = _compared(_fitted(TARGETS[rows], rows, train={"rows": 3000, "of": 6532}), wrong)
    assert report["comparison"]["network"] == 1.0
    assert report["summary"] == (
        "gru: 1.000 test accuracy; a linear model fitted to 3,000 of the 6,532 training rows, measured on 20 test "
        "rows: 1.000 (McNemar p = 1.000)"
    )


def test_nothing_is_compared_on_too_few_rows() -> None:
    rows = np.arange(5)
    assert compare(_fitted(TARGETS[rows], rows), "classification", "gru", {"test": {}}, {}) is None


def test_nothing_is_compared_without_a_baseline() -> None:
    assert compare(Fitted({"reason": "it could not be fitted"}), "classification", "gru", {"test": {}}, {}) is None


def test_regression_compares_squared_errors() -> None:
    targets = np.linspace(-1, 1, 40)
    values = {"model": "linear", "description": "d", "train": {"rows": 9, "of": 9}}
    values["splits"] = {"test": {"rows": 40, "of": 40, "r2": 0.0}}
    fitted = Fitted(values, {"test": Predictions(np.arange(40), np.zeros(40))})
    report = compare(fitted, "regression", "rnn", {"test": {}}, {"test": (targets[:, None], targets)})
    assert report is not None
    assert report["summary"] == "rnn: 1.000 test R²; a linear model on the same rows: 0.000 (paired t-test p < 0.001)"


def test_language_models_are_compared_by_bits_per_character() -> None:
    values = {"model": "ngram", "description": "d", "train": {"characters": 9, "of": 9}}
    values["splits"] = {"validation": {"bits_per_character": 2.1, "characters": 5, "of": 5}}
    metrics = {"validation": {"bits_per_character": 1.85}}
    report = compare(Fitted(values), "generation", "transformer", metrics, {})
    assert report is not None
    expected = "transformer: 1.850 validation bits per character; an n-gram model on the same text: 2.100"
    assert report["summary"] == expected
    report = compare(Fitted(values), "generation", "rnn", {"validation": {"bits_per_character": 2.5}}, {})
    assert report is not None
    assert report["summary"].endswith("an n-gram model on the same text: 2.100: the n-gram model is better")
