"""Times a few steps and one evaluation of a training run, to estimate the duration of the whole run."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from app.training.loop.loop import Training
from app.training.prepare.dataset import Rows

BUDGET = 3.0  # time budget in seconds for steps of one kind
FEWEST, MOST = 3, 200  # the minimum and maximum number of timed steps of one kind
_PATIENCE = 4.0  # timing ends after this many times the budget, even before FEWEST steps


@dataclass(frozen=True, slots=True)
class Timings:
    """The seconds per step while the n-gram branch is trained, per later step, and per evaluation."""

    early_step: float
    late_step: float
    evaluation: float

    def of_steps(self, steps: int, branch_steps: int) -> float:
        """Return how many seconds `steps` steps take. The first `branch_steps` steps train the n-gram branch."""
        early = min(steps, branch_steps)
        return early * self.early_step + (steps - early) * self.late_step


def time_training(training: Training, budget: float = BUDGET, clock: Callable[[], float] = time.monotonic) -> Timings:
    """Time a training run before its first step. The steps change the weights, so the run cannot be used afterwards."""
    training.network.train()
    training.step()  # the first step is slower, because kernels are chosen
    branch, total = training.settled.branch_steps, training.settled.total_steps
    early = late = _per_step(training, budget, clock)
    if branch and (total is None or branch < total):
        training.progress.step = max(training.progress.step, branch)
        late = _per_step(training, budget, clock)
    began = clock()
    training.evaluate()
    return Timings(early, late, clock() - began)


def _per_step(training: Training, budget: float, clock: Callable[[], float]) -> float:
    """Return the mean time per step.

    If batches differ in size, the time is corrected for the number of tokens in the timed steps.
    """
    began, tokens, count = clock(), training.progress.trained_tokens, 0
    while count < MOST:
        training.step()
        count += 1
        spent = clock() - began
        if (count >= FEWEST and spent >= budget) or spent >= _PATIENCE * budget:
            break
    settled, train = training.settled, training.dataset.train
    seconds = (clock() - began) / count
    # All windows have the same length, and balanced batches take about the same time.
    if not isinstance(train, Rows) or settled.balanced:
        return seconds
    return seconds * tokens_per_step(training) * count / max(1, training.progress.trained_tokens - tokens)


def tokens_per_step(training: Training) -> float:
    """Return the mean number of tokens (or, for numeric inputs, time steps) in one training step."""
    settled, train = training.settled, training.dataset.train
    rows = settled.batch_size * settled.accumulation
    if not isinstance(train, Rows):
        return float(rows * settled.window)
    limit = settled.row_limit or settled.config.context_length
    return rows * float(train.lengths_N.clip(max=limit).mean())
