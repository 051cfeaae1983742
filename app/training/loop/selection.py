"""Chooses which weights of a training run to keep: those of the best evaluation or of the last step.

The rule, `Settled.metric`, is chosen before step 0:

- `macro_f1`: the highest macro F1 on the validation rows. Scores that differ by at most 1 / (number of rows) and at
  most `LARGEST_TIE` are considered equal, and the lowest validation loss is then chosen. With few rows, the score has
  few possible values, and a barely trained network may reach a high one by chance.
- `loss`: the lowest validation loss.
- `last`: the last step. Used for linear models, and if there are too few validation rows to compare evaluations
  (`app/wire/measurement.py`).
"""

from __future__ import annotations

import math
from typing import Any, Protocol

LARGEST_TIE = 0.02  # scores with a larger difference never count as equal
SAVES = 5  # the number of times that a run with the rule `last` saves weights, in case it fails


class Kept(Protocol):
    """The evaluation whose weights are currently kept. `Progress` implements this protocol."""

    best_value: float | None
    best_metrics: dict[str, float]


def score(rule: str, metrics: dict[str, Any], fraction: float) -> float:
    """Return the value of an evaluation, for `Progress.best_value`. `fraction` is the completed share of the run."""
    return fraction if rule == "last" else float(metrics[rule])


def improves(rule: str, metrics: dict[str, Any], fraction: float, kept: Kept) -> bool:
    """Whether this evaluation's weights replace the currently kept weights."""
    highest, value = kept.best_value, score(rule, metrics, fraction)
    if highest is None:
        return True
    if rule == "last":
        return value >= 1.0 or int(value * SAVES) > int(highest * SAVES)
    if rule == "loss":
        return value < highest
    # Use the metrics of the kept checkpoint, because resume points of earlier releases contain them too.
    kept_value = kept.best_metrics.get("macro_f1", highest)
    kept_loss = kept.best_metrics.get("valid_loss", -math.inf)
    tie = _tie(metrics)
    return value > kept_value + tie or (value >= highest - tie and bool(metrics["loss"] < kept_loss))


def best(rule: str, metrics: dict[str, Any], fraction: float, kept: Kept) -> float:
    """Return the new `Progress.best_value` after an evaluation, whether or not its weights are kept."""
    highest, value = kept.best_value, score(rule, metrics, fraction)
    if rule == "macro_f1":
        return max(value, highest or 0.0)
    return value if highest is None or improves(rule, metrics, fraction, kept) else highest


def gains(rule: str, metrics: dict[str, Any], kept: Kept) -> bool:
    """Whether an evaluation resets the patience. With `macro_f1`, a lower loss at an equal score does not reset it."""
    highest = kept.best_value
    if rule == "last" or highest is None:
        return True
    return bool(metrics[rule] < highest if rule == "loss" else metrics[rule] > highest + _tie(metrics))


def _tie(metrics: dict[str, Any]) -> float:
    """Return the largest difference between scores that count as equal: 1 / rows, but at most `LARGEST_TIE`."""
    return min(LARGEST_TIE, 1.0 / metrics["rows"]) if metrics.get("rows") else 0.0
