"""Detects divergence in training: a loss, gradient norm or metric is not finite, or the loss remains very high."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from app.training.failures import diverged
from app.training.loop.progress import Progress
from app.training.plan.config import Settled
from app.training.prepare.dataset import Dataset, Rows, Stream

PATIENT_STEPS = 20  # consecutive steps above the ceiling that indicate divergence; shorter spikes are harmless


def loss_ceiling(settled: Settled, dataset: Dataset) -> float:
    """Return the maximum plausible loss of a run that has not diverged. It is more than twice the loss of guessing."""
    config = settled.config
    if config.task == "regression":
        # If the values are not scaled, they may have any magnitude, so there is no ceiling.
        return 100.0 * _mean_square(dataset.train) if dataset.facts.target else math.inf
    guessing = math.log(2 if config.task == "multilabel" else max(2, config.classes or config.vocab_size))
    return (2.0 * guessing + 2.0) * max(settled.class_weights or [1.0])


def _mean_square(train: Rows | Stream) -> float:
    """Return the mean square of the values to predict, but at least 1.

    The mean square exceeds 1 only if the values are scaled as in a base version.
    """
    assert isinstance(train, Rows)
    return max(1.0, float(np.square(train.targets_N, dtype=np.float64).mean()))


def check_step(progress: Progress, settled: Settled, ceiling: float, loss: float, norm: float) -> None:
    """Raise `diverged` if the loss or gradient norm is not finite, or too many losses in a row exceed the ceiling."""
    progress.bad_steps = progress.bad_steps + 1 if loss > ceiling else 0
    if math.isfinite(loss) and math.isfinite(norm) and progress.bad_steps < PATIENT_STEPS:
        return
    raise diverged(f"the loss at step {progress.step + 1} is {loss:.4g}", settled.learning_rate)


def check_metrics(split: str, metrics: dict[str, Any], step: int, settled: Settled) -> None:
    """Raise `diverged` if a metric is not finite, because it cannot be compared or written as JSON."""
    for name, value in metrics.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise diverged(f"the {split} {name} at step {step} is {value}", settled.learning_rate)
