"""Which weights of a training are kept: those of its best evaluation, or those of its last step.

The rule is settled before step 0, as `Settled.metric`:

- `macro_f1`: the highest macro F1 on the validation rows. Of equal ones, the lowest validation loss: on few rows a rate
  takes few values, and the first evaluation to reach one belongs to a network that is hardly trained.
- `loss`: the lowest validation loss.
- `last`: the last step. For validation rows that are too few to compare evaluations by (`config.SELECTING_ROWS`).
"""

from __future__ import annotations

import math
from typing import Any

from app.training.loop.progress import Progress

SAVES = 5  # checkpoints of a training that keeps its last weights, so that one is left if the training fails


def score(rule: str, metrics: dict[str, Any], fraction: float) -> float:
    """The value of an evaluation, for `Progress.best_value`. `fraction`: how much of the training is done."""
    return fraction if rule == "last" else float(metrics[rule])


def improves(rule: str, metrics: dict[str, Any], fraction: float, progress: Progress) -> bool:
    """Whether the weights of this evaluation replace those that are kept."""
    best, value = progress.best_value, score(rule, metrics, fraction)
    if best is None:
        return True
    if rule == "last":
        return value >= 1.0 or int(value * SAVES) > int(best * SAVES)
    if rule == "loss":
        return value < best
    # Taken from the metrics of the kept checkpoint: resume points of earlier releases have them too.
    return value > best or (value == best and metrics["loss"] < progress.best_metrics.get("valid_loss", -math.inf))
