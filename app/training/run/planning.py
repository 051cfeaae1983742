"""The planning run of an auto job, which prepares the data and plans the trials.

The trials are separate training runs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from app.training.events import Events
from app.training.plan import trials
from app.training.plan.config import Settled
from app.training.prepare.dataset import Dataset
from app.training.run import opening
from app.training.run.baseline import fit_baseline
from app.training.run.preparation import Machine, load_or_prepare
from app.wire.trainer import Planned, PlannedTrial, TrainSpec
from app.wording import quantity


def plan_trials(run: Path, spec: TrainSpec, machine: Machine, events: Events, check: Callable[[], None]) -> Planned:
    """Report on the data, plan the trials, and fit their baseline if they share one.

    A trial on the same machine uses the prepared data and the baseline; on another machine, it computes identical ones.
    `check` is called regularly and may raise an exception. Raises TrainingFailure if the data or an option cannot be
    used.
    """
    trials.check(spec.training, spec.task)
    dataset = load_or_prepare(run, spec, None, check)
    planned = trials.plan(spec, dataset, machine.settled_device(), machine.settled_threads)
    settled = planned[0][1]
    opening.announce_data(events, dataset, settled)
    if shares_baseline(dataset, settled):
        fit_baseline(run, spec, settled, dataset, events, check)
    listed = [trial for trial, _ in planned]
    events.note("plan", 0, _summary(listed))
    return Planned(dataset.facts.task, listed)


def shares_baseline(dataset: Dataset, settled: Settled) -> bool:
    """Whether all trials share one baseline.

    False for language models, because their baseline depends on the context length of the trial, and for jobs with a
    time limit, because each trial has its own limit.
    """
    return dataset.facts.task != "generation" and settled.max_seconds is None


def _summary(planned: list[PlannedTrial]) -> str:
    sizes = [
        f"{trial.model} with {trial.parameters:,} parameters" + (f" for {trial.steps:,} steps" if trial.steps else "")
        for trial in planned
    ]
    return f"{quantity(len(planned), 'trial')}: {'; '.join(sizes)}"
