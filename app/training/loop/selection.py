"""Decides which weights of a training run to keep: those of the best evaluation or those of the last step.

The rule, `Settled.metric`, is chosen before step 0:

- `macro_f1`: the highest macro F1 on the validation rows; among equal scores, the lowest validation loss. On few rows,
  the score has few possible values, and the first evaluation to reach a value may belong to a barely trained network.
- `loss`: the lowest validation loss.
- `last`: the last step. Used if there are too few validation rows to compare evaluations (`wire.measurement`).
"""

from __future__ import annotations

import math
from typing import Any

from app.training.loop.progress import Progress

SAVES = 5  # the number of times that a run with the rule `last` saves weights, in case it fails


def score(rule: str, metrics: dict[str, Any], fraction: float) -> float:
    """The value of an evaluation, for `Progress.best_value`. `fraction` is the completed share of the run."""
    return fraction if rule == "last" else float(metrics[rule])


def improves(rule: str, metrics: dict[str, Any], fraction: float, progress: Progress) -> bool:
    """Whether the weights of this evaluation replace the weights kept so far."""
    best, value = progress.best_value, score(rule, metrics, fraction)
    if best is None:
        return True
    if rule == "last":
        return value >= 1.0 or int(value * SAVES) > int(best * SAVES)
    if rule == "loss":
        return value < best
    # The loss is taken from the metrics of the kept checkpoint, which resume points of earlier releases also contain.
    return value > best or (value == best and metrics["loss"] < progress.best_metrics.get("valid_loss", -math.inf))
