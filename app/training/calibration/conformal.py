"""Nonconformity scores for split conformal prediction (Vovk et al., 2005; Sadinle et al., 2019)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.checkpoint.calibration import SCORES, Calibration, ConformalScores

LABEL_ROWS = 50  # labels have their own quantiles if each of them has at least this many rows
LABEL_SCORES = 20_000  # the maximum number of scores that are kept for all labels together


def nonconformity(task: str, outputs_NC: NDArray[np.float64], targets: NDArray[Any]) -> NDArray[np.float64]:
    """Return the nonconformity score of each row, as `Calibration` defines it.

    `outputs_NC` contains calibrated probabilities, or the values of a regression in the units of `targets`.
    """
    scores_N: NDArray[np.float64]
    if task == "regression":
        scores_N = np.abs(outputs_NC[:, 0] - targets)
    elif task == "classification":
        scores_N = 1.0 - outputs_NC[np.arange(len(targets)), targets]
    else:
        scores_N = np.where(targets > 0, 1.0 - outputs_NC, 0.0).max(1)
    return scores_N


def scores(values_N: NDArray[np.float64], most: int = SCORES) -> ConformalScores:
    """Return at most `most` of the scores, in ascending order, with the ranks that `ConformalScores` describes."""
    ordered_N, count = np.sort(values_N), len(values_N)
    kept = min(count, most)
    ranks = -(-(np.arange(1, kept + 1) * count) // kept)
    return ConformalScores(count, ordered_N[ranks - 1].tolist())


def label_scores(values_N: NDArray[np.float64], targets_N: NDArray[np.int64], labels: int) -> list[ConformalScores]:
    """Return the scores of each label's rows, or [] if a label has too few rows, or if there are too many labels."""
    if labels < 2 or np.bincount(targets_N, minlength=labels).min() < LABEL_ROWS:
        return []
    most = min(SCORES, LABEL_SCORES // labels)
    return [scores(values_N[targets_N == label], most) for label in range(labels)] if most >= LABEL_ROWS else []


def set_figures(
    calibration: Calibration, task: str, outputs_NC: NDArray[np.float64], targets: NDArray[Any], coverage: float
) -> dict[str, float] | None:
    """Return the share of rows whose prediction set or interval contains the true labels or value, and its mean size.

    Returns None if the calibration has too few scores for this coverage.
    """
    quantiles = calibration.quantiles(coverage, outputs_NC.shape[1])
    if quantiles is None:
        return None
    if task == "regression":
        covered_N = nonconformity(task, outputs_NC, targets) <= quantiles[0]
        return {"coverage": float(covered_N.mean()), "mean_width": 2.0 * quantiles[0]}
    included_NC = 1.0 - outputs_NC <= np.asarray(quantiles)
    if task == "classification":
        included_NC[np.arange(len(targets)), outputs_NC.argmax(1)] = True
        covered_N = included_NC[np.arange(len(targets)), targets]
    else:
        covered_N = (included_NC | (targets == 0)).all(1)
    return {"coverage": float(covered_N.mean()), "mean_size": float(included_NC.sum(1).mean())}
