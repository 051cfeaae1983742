"""Determines the learning rate of each step, and when a training run evaluates, reports and ends.

Every decision depends only on the run's settings and progress.
"""

from __future__ import annotations

import math

from app.training.loop.progress import Progress
from app.training.plan.config import Settled
from app.training.plan.duration import EVALUATIONS

REPORTS = 100  # the number of reports if the number of steps is known
EARLIEST_PLATEAU = 0.2  # a plateau cannot end a run before this share of its maximum length
LAST_RATE = 0.01  # the final learning rate, as a share of the peak
EVALUATION_SHARE = 0.05  # the maximum share of the elapsed time spent on evaluations, if time is limited


class Schedule:
    """Determines the learning rate and the actions that are due at the current step of a training run.

    With the schedule `plateau`, the learning rate remains constant until `patience` consecutive evaluations have
    brought no improvement. The learning rate then decays to almost zero within `cooldown` times the number of steps so
    far (Hägele et al., 2024, "Scaling laws and compute-optimal training beyond fixed training durations"). Without such
    a plateau, the learning rate decays before the last step or the time limit.
    """

    def __init__(self, settled: Settled, progress: Progress) -> None:
        self.settled, self.progress = settled, progress

    @property
    def fraction(self) -> float:
        """The completed share of the run, from 0 to 1, in steps or in time, whichever is larger."""
        steps, seconds = self.total_steps, self.settled.max_seconds
        by_steps = self.progress.step / steps if steps else 0.0
        return min(1.0, max(by_steps, self.progress.elapsed / seconds if seconds else 0.0))

    @property
    def total_steps(self) -> int | None:
        """The expected number of steps at the end of the run, or None if only the time is limited."""
        steps, start = self.settled.total_steps, self.progress.cooldown_start
        if start < 0:
            return steps
        end = start + max(1, round(self.settled.cooldown * start))
        return end if steps is None else min(steps, end)

    @property
    def rate(self) -> float:
        """The learning rate of the next step."""
        if self.progress.cooldown_start < 0:
            return learning_rate(self.settled, self.fraction)
        return self.settled.learning_rate * (LAST_RATE + (1.0 - LAST_RATE) * self._rest)

    @property
    def branch_rate(self) -> float:
        """The learning rate of the n-gram branch, which decays linearly to 0 and reaches it no later than step
        `branch_steps`.

        If `branch_steps` is 0, the rate decays until the end of the run.
        """
        peak, steps = self.settled.branch_learning_rate, self.settled.branch_steps
        if not steps:
            return peak * (1.0 - self.fraction)
        start = self.progress.cooldown_start
        done = self.progress.step if start < 0 else start
        return peak * max(0.0, 1.0 - done / steps) * self._rest

    @property
    def _rest(self) -> float:
        """The factor of the learning rate after a plateau: 1 before the decay starts, 0 at its end."""
        start = self.progress.cooldown_start
        if start < 0 or (end := self.total_steps) is None:
            return 1.0
        return max(0.0, 1.0 - (self.progress.step - start) / max(1, end - start))

    @property
    def finished(self) -> bool:
        """Whether all steps are done, the time limit is reached or, except with `plateau`, the patience is exhausted.

        Even if the time limit is reached before the first step, a run takes one step.
        """
        ended = self.fraction >= 1.0 or (self.out_of_patience and self.settled.schedule != "plateau")
        return ended and self.progress.step > 0

    @property
    def out_of_patience(self) -> bool:
        """Whether early stopping is enabled, and at least the last `patience` evaluations brought no improvement."""
        return 0 < self.settled.patience <= self.progress.without_gain

    @property
    def ended_early(self) -> bool:
        """Whether a lack of improvement has shortened the run."""
        if self.settled.schedule == "plateau":
            return self.progress.cooldown_start >= 0
        return self.out_of_patience and self.fraction < 1.0

    @property
    def plateaued(self) -> bool:
        """Whether the learning rate should start to decay now, earlier than planned."""
        # Early on, some networks need many steps before any metric improves.
        is_time = EARLIEST_PLATEAU <= self.fraction < 1.0 / (1.0 + self.settled.cooldown)
        waiting = self.settled.schedule == "plateau" and self.progress.cooldown_start < 0
        return waiting and is_time and self.out_of_patience

    @property
    def evaluation_due(self) -> bool:
        """Whether to evaluate now.

        A run evaluates every `eval_every` steps and at its end, but never twice at the same step.
        """
        progress, every = self.progress, self.settled.eval_every
        if progress.step == 0 or progress.evaluated == progress.step:
            return False
        if self.finished:
            return True
        if every is not None:
            return progress.step % every == 0
        # Here, the run ends after a given time, so the time for evaluations may also be limited, which helps slow
        # machines. If the number of steps is known, evaluations must not depend on the time, because the results would
        # then depend on the machine's speed.
        affordable = progress.evaluating <= EVALUATION_SHARE * progress.elapsed
        return affordable and int(self.fraction * EVALUATIONS) > progress.evaluations

    @property
    def report_due(self) -> bool:
        """Whether to report now.

        A run reports its progress about a hundred times. No report is made when an evaluation is due, because the
        evaluation makes its own report.
        """
        step, total = self.progress.step, self.settled.total_steps
        # If the total is not known, reports become less frequent as the number of steps grows.
        every = max(1, -(-total // REPORTS)) if total is not None else 5 << max(0, (step // 100).bit_length() - 1)
        return step % every == 0 and not self.evaluation_due


def learning_rate(settled: Settled, fraction: float) -> float:
    """Return the learning rate at `fraction` of the run, from 0 to 1, assuming that the run is not shortened.

    After a linear warm-up, the rate remains constant or decays to 1 % of its peak: along a cosine curve, linearly or,
    with `plateau`, linearly from a late start.
    """
    warmup, peak = settled.warmup_ratio, settled.learning_rate
    if fraction < warmup:
        return peak * max(fraction / warmup, LAST_RATE)
    if settled.schedule == "constant" or warmup >= 1:
        return peak
    start = max(warmup, 1.0 / (1.0 + settled.cooldown)) if settled.schedule == "plateau" else warmup
    rest = min(1.0, max(0.0, fraction - start) / (1.0 - start)) if start < 1.0 else 0.0
    falling = 0.5 * (1.0 + math.cos(math.pi * rest)) if settled.schedule == "cosine" else 1.0 - rest
    return peak * (LAST_RATE + (1.0 - LAST_RATE) * falling)
