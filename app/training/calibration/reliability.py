"""Measures the reliability of probabilities: accuracy per confidence bin, and the expected calibration error."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.checkpoint.calibration import Bin, Reliability

BINS = 15


def reliability(scores_N: NDArray[np.float64], right_N: NDArray[np.bool_], bins: int = BINS) -> Reliability:
    """Measure the reliability of scores from 0 to 1. Each score is the estimated probability that an answer is correct.

    The expected calibration error (Naeini et al., 2015) is the mean over all rows of the absolute difference between
    the mean score and the accuracy of the row's bin.
    """
    index_N = np.minimum((scores_N * bins).astype(np.int64), bins - 1)
    rows_B = np.bincount(index_N, minlength=bins)
    scores_B = np.bincount(index_N, weights=scores_N, minlength=bins)
    right_B = np.bincount(index_N, weights=right_N.astype(np.float64), minlength=bins)
    error = float(np.abs(scores_B - right_B).sum() / max(1, len(scores_N)))
    counts_B = np.maximum(rows_B, 1)
    return Reliability(error, [Bin(*values) for values in zip(
        rows_B.tolist(), (scores_B / counts_B).tolist(), (right_B / counts_B).tolist(), strict=True
    )])  # fmt: skip


def softmax(logits_NC: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convert the logits of each row to probabilities, which sum to 1."""
    raised_NC = np.exp(logits_NC - logits_NC.max(1, keepdims=True))
    probs_NC: NDArray[np.float64] = raised_NC / raised_NC.sum(1, keepdims=True)
    return probs_NC


def sigmoid(logits_NC: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convert each logit to a probability, independently of the other logits."""
    return np.exp(-np.logaddexp(0.0, -logits_NC))


def answers(
    task: str, probs_NC: NDArray[np.float64], targets: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return, for each row, the answer's score and whether the answer is correct.

    For classification, the score is the probability of the predicted label. For multilabel classification, an answer is
    correct if the decision on every label is correct, and its score is the lowest probability among these decisions.
    """
    if task == "classification":
        return probs_NC.max(1), probs_NC.argmax(1) == targets
    return np.maximum(probs_NC, 1 - probs_NC).min(1), ((probs_NC >= 0.5) == (targets > 0)).all(1)


def decisions(
    task: str, probs_NC: NDArray[np.float64], targets: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the predicted probabilities of the events, and whether each event occurred.

    For classification, the event is that the predicted label is correct; for multilabel classification, it is that the
    row has a given label.
    """
    if task == "classification":
        return answers(task, probs_NC, targets)
    return probs_NC.ravel(), (targets > 0).ravel()
