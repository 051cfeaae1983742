"""Paired tests of two models on the same rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class PairedTest:
    """The name of a test, its two-sided p-value, and the advantage of the first model over the second."""

    name: str
    p: float
    difference: float


def mcnemar(first_N: NDArray[np.bool_], second_N: NDArray[np.bool_]) -> PairedTest:
    """Apply the exact McNemar test (1947) to two models. Each argument marks the rows that a model predicts correctly.

    The p-value is computed from the binomial distribution. It depends only on the rows that exactly one model predicts
    correctly.
    """
    from scipy.special import bdtr

    only_first, only_second = int((first_N & ~second_N).sum()), int((second_N & ~first_N).sum())
    fewer, rows = min(only_first, only_second), only_first + only_second
    p = min(1.0, 2.0 * float(bdtr(fewer, rows, 0.5))) if rows else 1.0
    return PairedTest("McNemar", p, (only_first - only_second) / max(1, len(first_N)))


def t_test(first_N: NDArray[np.float64], second_N: NDArray[np.float64]) -> PairedTest:
    """Apply Student's paired t-test to the squared errors of two models. The model with smaller errors is better."""
    from scipy.special import stdtr

    differences_N = second_N - first_N
    mean, count = float(differences_N.mean()), len(differences_N)
    deviation = float(differences_N.std(ddof=1)) if count > 1 else 0.0
    if deviation == 0.0:
        return PairedTest("paired t-test", 1.0 if mean == 0.0 else 0.0, mean)
    p = 2.0 * float(stdtr(count - 1, -abs(mean) / deviation * count**0.5))
    return PairedTest("paired t-test", p, mean)


def correct_rows(task: str, outputs_NC: NDArray[np.float64], targets_N: NDArray[Any]) -> NDArray[np.bool_]:
    """Return whether a network predicts each row correctly, given its logits.

    In multilabel classification, every label must be correct.
    """
    if task == "multilabel":
        return np.asarray(((outputs_NC >= 0) == (targets_N > 0)).all(1))
    return np.asarray(outputs_NC.argmax(1) == targets_N)
