"""The figures in the reports of a training run: losses and accuracies under their public names, speed, time left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from app.training.loop.progress import Progress
from app.training.loop.schedule import Schedule


def training_figures(progress: Progress, task: str) -> dict[str, float]:
    """The mean loss since the last report and, except for regression, the share of correct predictions."""
    figures = {"train_loss": progress.loss / max(progress.weight, 1e-9)}
    if task != "regression":
        figures["train_mean_token_accuracy"] = progress.correct / max(1, progress.count)
    return figures


def validation_figures(metrics: dict[str, Any], *, full: bool) -> dict[str, float]:
    """The metrics of an evaluation under their public names.

    `full` means that the evaluation used all of the validation data.
    """
    figures = {"valid_loss": metrics["loss"]}
    if "rows" in metrics:
        figures["valid_rows"] = metrics["rows"]
    if "accuracy" in metrics:
        figures["valid_mean_token_accuracy"] = metrics["accuracy"]
    for name in ("macro_f1", "mse", "mae", "r2", "bits_per_character"):
        if name in metrics:
            figures[name] = metrics[name]
    if full:
        figures["full_valid_loss"] = metrics["loss"]
        if "accuracy" in metrics:
            figures["full_valid_mean_token_accuracy"] = metrics["accuracy"]
    return figures


class Pace:
    """The speed of this attempt. Earlier attempts are disregarded, because they may have run on another machine."""

    def __init__(self, schedule: Schedule, clock: Callable[[], float]) -> None:
        self._schedule, self._clock = schedule, clock
        progress = schedule.progress
        self._began, self._first_step, self._first_tokens = clock(), progress.step, progress.trained_tokens

    @property
    def tokens_per_second(self) -> float:
        return (self._schedule.progress.trained_tokens - self._first_tokens) / self._spent()

    @property
    def seconds_left(self) -> float | None:
        """The seconds until the last step or the time limit, whichever is sooner; None if neither can be estimated."""
        total, progress, limit = self._schedule.total_steps, self._schedule.progress, self._schedule.settled.max_seconds
        estimates = []
        steps = progress.step - self._first_step
        if total and steps > 0:
            estimates.append((total - progress.step) * self._spent() / steps)
        if limit:
            estimates.append(max(0.0, limit - progress.elapsed))
        return min(estimates, default=None)

    def _spent(self) -> float:
        return max(self._clock() - self._began, 1e-6)
