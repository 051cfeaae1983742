"""Measures the thresholds of a version's calibration on the evaluated rows."""

from __future__ import annotations

from typing import Any

from app.checkpoint.calibration import Calibration
from app.training.calibration.reliability import answers
from app.training.evaluation.scores import Scores


def measure_thresholds(calibration: Calibration | None, scores: Scores | None) -> list[dict[str, Any]]:
    """Return the share of answered rows, and of wrong answers among them, for each threshold of the calibration.

    Uses the probabilities that the version returns, which are those of the worst mistakes. The levels of the
    calibration describe other probabilities: a row that was used to choose the checkpoint has been scored without its
    influence. `errors` is None if no row is answered. Returns [] for regression, and without a calibration.
    """
    if calibration is None or scores is None or scores.probabilities_NC is None:
        return []
    scores_N, right_N = answers(scores.task, scores.probabilities_NC, scores.targets_N)
    measured = []
    for level in calibration.risk:
        answered_N = scores_N >= level.score
        errors = float((~right_N[answered_N]).mean()) if answered_N.any() else None
        measured.append({"score": level.score, "answered": float(answered_N.mean()), "errors": errors})
    return measured
