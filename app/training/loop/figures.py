"""The figures that a training run reports: losses and accuracies under their public names, speed and remaining time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from app.training.loop.progress import Progress
from app.training.loop.remaining import CLOSING, EvaluationWork, evaluations_between
from app.training.loop.schedule import Schedule


def training_figures(progress: Progress, task: str) -> dict[str, float]:
    """Return the mean loss since the last report and, except for regression, the share of correct predictions."""
    figures = {"train_loss": progress.loss / max(progress.weight, 1e-9)}
    if task != "regression":
        figures["train_mean_token_accuracy"] = progress.correct / max(1, progress.count)
    return figures


def validation_figures(metrics: dict[str, Any], *, full: bool) -> dict[str, float]:
    """Return the metrics of an evaluation under their public names.

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
    """The speed of this attempt. Earlier attempts are disregarded, because they may have run on another machine.

    The time per step is measured from the creation of the object. The measurement restarts after the first step, in
    which kernels are chosen, and after the training of the n-gram branch, because the following steps are faster.
    """

    def __init__(self, schedule: Schedule, clock: Callable[[], float], work: EvaluationWork) -> None:
        self._schedule, self._clock, self._work = schedule, clock, work
        progress = schedule.progress
        self._began, self._first_tokens, self._start = clock(), progress.trained_tokens, progress.step
        self._evaluated, self._evaluating = progress.evaluations, progress.evaluating
        self._restart(None)

    @property
    def tokens_per_second(self) -> float:
        return (self._schedule.progress.trained_tokens - self._first_tokens) / max(self._clock() - self._began, 1e-6)

    def advance(self) -> None:
        """Record the end of a step."""
        if self._schedule.progress.step in (self._start + 1, self._schedule.settled.branch_steps):
            self._restart(self._seconds_per_step)

    @property
    def seconds_left(self) -> float | None:
        """The seconds until the version is complete, unless the run ends early; None if unknown.

        The run ends with its last step or at the time limit, whichever is sooner. Afterwards, the network is evaluated
        on all held-out data.
        """
        schedule, progress = self._schedule, self._schedule.progress
        estimates = []
        per_step = self._seconds_per_step
        if schedule.total_steps and per_step is not None:
            evaluations = evaluations_between(schedule.settled, progress.step, schedule.total_steps)
            steps = schedule.total_steps - progress.step
            estimates.append(steps * per_step + evaluations * self._work.regular * self._seconds_per_row(per_step))
        if limit := schedule.settled.max_seconds:
            estimates.append(max(0.0, limit - progress.elapsed))
        if not estimates:
            return None
        return min(estimates) + CLOSING + self._work.closing * self._seconds_per_row(per_step or 0.0)

    def _restart(self, per_step: float | None) -> None:
        """Restart the measurement. Until a step has ended, `per_step` is used as the time per step."""
        self._earlier, progress = per_step, self._schedule.progress
        self._first_step, self._first_clock, self._first_evaluating = progress.step, self._clock(), progress.evaluating

    @property
    def _seconds_per_step(self) -> float | None:
        """The mean time per step, without evaluations; None before the end of the first step."""
        progress = self._schedule.progress
        steps = progress.step - self._first_step
        if steps <= 0:
            return self._earlier
        spent = self._clock() - self._first_clock - (progress.evaluating - self._first_evaluating)
        return max(spent, 1e-6) / steps

    def _seconds_per_row(self, per_step: float) -> float:
        """Return the time in seconds to evaluate a row, or a token of a text.

        Before the first evaluation, the time is estimated as a third of the training time per row, because the forward
        pass takes about a third of a step.
        """
        progress, settled = self._schedule.progress, self._schedule.settled
        if count := progress.evaluations - self._evaluated:
            return (progress.evaluating - self._evaluating) / (count * max(1, self._work.regular))
        rows = settled.batch_size * settled.accumulation * (settled.window or 1)
        return per_step / (3 * max(1, rows))
