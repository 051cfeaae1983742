"""Decides when a training run evaluates, reports and ends, based only on its settings and progress."""

from __future__ import annotations

from app.training.loop.progress import Progress
from app.training.plan.config import EVALUATIONS, Settled

REPORTS = 100  # the number of reports if the number of steps is known
EVALUATION_SHARE = 0.05  # the maximum share of the elapsed time spent on evaluations, if time is limited


class Schedule:
    """Determines the actions due at the current step of a training run."""

    def __init__(self, settled: Settled, progress: Progress) -> None:
        self.settled, self.progress = settled, progress

    @property
    def fraction(self) -> float:
        """The completed share of the run, from 0 to 1, in steps or in time, whichever is larger."""
        steps, seconds = self.settled.total_steps, self.settled.max_seconds
        by_steps = self.progress.step / steps if steps else 0.0
        return min(1.0, max(by_steps, self.progress.elapsed / seconds if seconds else 0.0))

    @property
    def finished(self) -> bool:
        """Whether all steps are done, the time limit is reached, or the run is out of patience."""
        return self.fraction >= 1.0 or self.out_of_patience

    @property
    def out_of_patience(self) -> bool:
        """Whether the last `patience` evaluations, or more, brought no improvement."""
        return 0 < self.settled.patience <= self.progress.without_gain

    @property
    def evaluation_due(self) -> bool:
        """Whether to evaluate now: every `eval_every` steps and at the end, but never twice at the same step."""
        progress, every = self.progress, self.settled.eval_every
        if progress.step == 0 or progress.evaluated == progress.step:
            return False
        if self.finished:
            return True
        if every is not None:
            return progress.step % every == 0
        # Here, the clock determines the end of the run, so it may also limit the time spent on evaluations, for the
        # sake of slow machines. If the number of steps is known, it must not: results would then depend on speed.
        affordable = progress.evaluating <= EVALUATION_SHARE * progress.elapsed
        return affordable and int(self.fraction * EVALUATIONS) > progress.evaluations

    @property
    def report_due(self) -> bool:
        """Whether to report now: about a hundred times per run, but not if an evaluation is due, which also reports."""
        step, total = self.progress.step, self.settled.total_steps
        # If the total is not known, reports become less frequent as the number of steps grows.
        every = max(1, -(-total // REPORTS)) if total is not None else 5 << max(0, (step // 100).bit_length() - 1)
        return step % every == 0 and not self.evaluation_due
