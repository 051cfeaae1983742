"""Decides when a training evaluates, reports and ends, as functions of its settings and its progress. Reads no
clock."""

from __future__ import annotations

from app.training.loop.progress import Progress
from app.training.plan.config import EVALUATIONS, Settled

REPORTS = 100  # in a training whose number of steps is settled
EVALUATION_SHARE = 0.05  # of the elapsed time, where time is limited


class Schedule:
    """What is due at the current step of a training."""

    def __init__(self, settled: Settled, progress: Progress) -> None:
        self.settled, self.progress = settled, progress

    @property
    def fraction(self) -> float:
        """How much of the training is done, from 0 to 1: by steps or by time, whichever is further."""
        steps, seconds = self.settled.total_steps, self.settled.max_seconds
        by_steps = self.progress.step / steps if steps else 0.0
        return min(1.0, max(by_steps, self.progress.elapsed / seconds if seconds else 0.0))

    @property
    def finished(self) -> bool:
        """Whether the last step was taken, the time is up, or patience has run out."""
        return self.fraction >= 1.0 or self.out_of_patience

    @property
    def out_of_patience(self) -> bool:
        """Whether `patience` evaluations in a row brought no gain."""
        return 0 < self.settled.patience <= self.progress.without_gain

    @property
    def evaluation_due(self) -> bool:
        """Whether to evaluate now: every `eval_every` steps, at the end, and never twice at one step."""
        progress, every = self.progress, self.settled.eval_every
        if progress.step == 0 or progress.evaluated == progress.step:
            return False
        if self.finished:
            return True
        if every is not None:
            return progress.step % every == 0
        # The training ends by the clock, so the clock may also keep evaluations from taking much of a slow machine's
        # time. With a number of steps it may not: that would make results depend on speed.
        affordable = progress.evaluating <= EVALUATION_SHARE * progress.elapsed
        return affordable and int(self.fraction * EVALUATIONS) > progress.evaluations

    @property
    def report_due(self) -> bool:
        """Whether to report now: about a hundred times in a training, except at evaluations, which report too. Without
        a number of steps, reports become rarer."""
        step, total = self.progress.step, self.settled.total_steps
        every = max(1, -(-total // REPORTS)) if total is not None else 5 << max(0, (step // 100).bit_length() - 1)
        return step % every == 0 and not self.evaluation_due
