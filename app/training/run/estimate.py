"""A dry run: prepares the data, plans the training run, and times a few steps.

A dry run uses a separate run directory, which is deleted afterwards.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from app.training import base
from app.training.base import BaseCheckpoint
from app.training.events import Events
from app.training.loop.remaining import CLOSING, EvaluationWork, evaluations_between, size_of
from app.training.loop.timing import BUDGET, Timings, time_training, tokens_per_step
from app.training.plan import config, reasons, trials
from app.training.plan.config import Settled, settle
from app.training.plan.memory import MemoryEstimate, check_memory, estimate_memory
from app.training.prepare.dataset import Dataset, sample, token_count
from app.training.prepare.encode_generation import recount_characters
from app.training.report import export
from app.training.run import opening
from app.training.run.baseline import baseline_seconds
from app.training.run.branch import MEASURED_ROWS, measure_frequencies
from app.training.run.planning import shares_baseline
from app.training.run.preparation import Machine, load_or_prepare
from app.training.run.session import Session, configure_torch
from app.wire.estimate import DataSummary, Estimate, EstimatedMemory, EstimatedSeconds, TrainingPlan
from app.wire.trainer import AUTO, Estimated, Phase, TrainSpec
from models.ngrams import Ngrams
from models.parameters import count

TIMED_ROWS, TIMED_TOKENS = 1000, 24_000  # the maximum size of the timed evaluation
FREQUENCY_ROWS = 2000  # the time to measure document frequencies is extrapolated from this many rows


class EstimateSession(Session):
    """A dry run of the training run described in a run directory.

    `started` is the program's start time, by `time.monotonic`.
    """

    def __init__(
        self, run: Path, events: Events, stopping: Callable[[], bool], machine: Machine, started: float
    ) -> None:
        super().__init__(run, events, stopping, machine)
        self._started, self._loading = started, time.monotonic() - started
        self._budget = BUDGET  # seconds for the timed steps of one kind; several runs share it
        self._frequencies = 0.0  # estimated seconds to measure document frequencies on all rows

    def _work(self) -> Estimated:
        self.events.emit(Phase("validating_files"))
        base_checkpoint = base.find(self.run, self.spec)
        if self.spec.model == AUTO:
            trials.check(self.spec.training, self.spec.task)
        else:
            config.check(self.spec, base_checkpoint)
        dataset = load_or_prepare(self.run, self.spec, base_checkpoint, self._check_stop)
        planned = self._planned(dataset, base_checkpoint)
        for _, settled in planned:
            limit = self.machine.memory_limit(settled.device)
            check_memory(settled, estimate_memory(settled, dataset), limit)
        opening.announce(self.events, dataset, planned[0][1])
        self.events.emit(Estimated(_estimate(dataset, [], 0.0)))  # the data, before the time is known
        first, before = self._before(dataset, planned)
        self._budget = BUDGET / len(planned)
        plans = [
            self._timed(spec, settled, dataset, base_checkpoint, seconds)
            for (spec, settled), seconds in zip(planned, before, strict=True)
        ]
        return Estimated(_estimate(dataset, plans, first))

    def _before(self, dataset: Dataset, planned: list[tuple[TrainSpec, Settled]]) -> tuple[float, list[float]]:
        """Return how many seconds it takes to plan the trials of an auto job, and to get each run to its first step.

        The trials share the prepared data and, if `shares_baseline` is true, the baseline.
        """
        prepared = time.monotonic() - self._started
        baselines = [baseline_seconds(spec, settled, dataset) for spec, settled in planned]
        if self.spec.model != AUTO:
            return 0.0, [prepared + baseline for baseline in baselines]
        if shares_baseline(dataset, planned[0][1]):
            return prepared + baselines[0], [self._loading] * len(planned)
        return prepared, [self._loading + baseline for baseline in baselines]

    def _planned(self, dataset: Dataset, base_checkpoint: BaseCheckpoint | None) -> list[tuple[TrainSpec, Settled]]:
        """Return the request and the settings of each run. Raises TrainingFailure if a run cannot be planned."""
        device, threads = self.machine.settled_device(), self.machine.settled_threads
        if self.spec.model == AUTO:
            return [
                (msgspec.structs.replace(self.spec, model=trial.model, training=trial.training), settled)
                for trial, settled in trials.plan(self.spec, dataset, device, threads)
            ]
        settled = settle(self.spec, dataset, base_checkpoint, device, threads)
        export.check(self.spec, settled, dataset)
        return [(self.spec, settled)]

    def _timed(
        self,
        spec: TrainSpec,
        settled: Settled,
        dataset: Dataset,
        base_checkpoint: BaseCheckpoint | None,
        before: float,
    ) -> TrainingPlan:
        """Time a few steps of a run, and return its plan. `before` is the time before the first step, in seconds."""
        configure_torch(settled)
        dataset = recount_characters(dataset, settled.config.context_length)
        held_out = sample(dataset.validation, TIMED_TOKENS if settled.window else TIMED_ROWS)
        timed = replace(settled, eval_rows=None)
        self._frequencies = 0.0
        training = self._training(timed, replace(dataset, validation=held_out), base_checkpoint)
        timings = time_training(training, self._budget)
        seconds = _seconds(settled, dataset, timings, size_of(held_out), before + self._frequencies)
        per_step = tokens_per_step(training)
        memory = estimate_memory(settled, dataset)
        planned = _plan(spec, settled, memory, self.machine.memory_limit(settled.device), seconds, timings, per_step)
        chosen = reasons.choices(spec, settled, dataset, base_checkpoint)
        return msgspec.structs.replace(planned, choices=chosen)

    def _measure(self, branch: Ngrams, dataset: Dataset, settled: Settled) -> None:
        began, rows = time.monotonic(), size_of(dataset.train)
        measure_frequencies(branch, dataset, settled.config.context_length, self._check_stop, FREQUENCY_ROWS)
        spent = time.monotonic() - began
        self._frequencies = spent * min(rows, MEASURED_ROWS) / min(rows, FREQUENCY_ROWS)


def _estimate(dataset: Dataset, plans: list[TrainingPlan], first: float) -> Estimate:
    """Return the estimate for these runs. `first` is the time before the first of them, in seconds."""
    return Estimate(
        task=dataset.facts.task,
        data=_summary(dataset),
        vocab_size=dataset.facts.vocab_size or None,
        plans=plans,
        parameters=max((plan.parameters for plan in plans), default=0),
        memory=max((plan.memory.total for plan in plans), default=0),
        seconds=first + sum(plan.seconds.total for plan in plans),
    )


def _seconds(settled: Settled, dataset: Dataset, timings: Timings, timed: int, before: float) -> EstimatedSeconds:
    """Return the duration of the longest possible run. `timed` is the size of the evaluation that was timed."""
    work = EvaluationWork.of(settled, dataset)
    per_row, limit = timings.evaluation / timed, settled.max_seconds
    steps = evaluations = 0.0
    if settled.total_steps is not None:
        steps = timings.of_steps(settled.total_steps, settled.branch_steps)
        evaluations = per_row * work.regular * evaluations_between(settled, 0, settled.total_steps)
    if limit is not None and (settled.total_steps is None or steps + evaluations > limit):
        steps, evaluations = limit - min(limit, evaluations), min(limit, evaluations)
    closing = per_row * work.closing + CLOSING
    return EstimatedSeconds(
        preparation=round(before, 2),
        steps=round(steps, 2),
        evaluations=round(evaluations, 2),
        closing=round(closing, 2),
        total=round(before + steps + evaluations + closing, 2),
    )


def _plan(
    spec: TrainSpec,
    settled: Settled,
    memory: MemoryEstimate,
    limit: int,
    seconds: EstimatedSeconds,
    timings: Timings,
    tokens_per_step: float,
) -> TrainingPlan:
    model, steps = settled.config, settled.total_steps
    linear = model.architecture == "linear"
    return TrainingPlan(
        model=spec.model,
        architecture=model.architecture,
        layers=None if linear else model.layers,
        width=None if linear else model.width,
        context_length=model.context_length,
        parameters=count(model),
        steps=steps,
        ends_earlier=_ends_earlier(settled),
        trained_tokens=None if steps is None else round(steps * tokens_per_step),
        batch_size=settled.batch_size * settled.accumulation,
        learning_rate=settled.learning_rate or settled.branch_learning_rate,
        optimizer=settled.optimizer,
        schedule=settled.schedule,
        precision=settled.precision,
        device=settled.device,
        threads=settled.threads,
        seconds_per_step=round(timings.of_steps(steps or 1, settled.branch_steps) / (steps or 1), 6),
        memory=EstimatedMemory(
            memory.weights, memory.optimizer, memory.activations, memory.libraries, memory.total, limit
        ),
        seconds=seconds,
    )


def _ends_earlier(settled: Settled) -> str | None:
    """Return why the run may perform fewer steps than planned, or None if it performs all of them."""
    reasons = []
    if settled.max_seconds is not None and settled.total_steps is not None:
        reasons.append(f"max_seconds ({settled.max_seconds:g}) ends the run")
    if settled.patience:
        effect = "the learning rate starts to decay" if settled.schedule == "plateau" else "the run ends"
        reasons.append(f"{effect} after {settled.patience} consecutive evaluations without a better {settled.metric}")
    return "; ".join(reasons) or None


def _summary(dataset: Dataset) -> DataSummary:
    report: dict[str, Any] = dataset.facts.report
    return DataSummary(
        rows=dict(report.get("rows") or {}),
        characters=dict(report.get("characters") or {}),
        tokens={name: token_count(part) for name, part in dataset.parts.items()},
        labels={name: dict(counts) for name, counts in (report.get("labels") or {}).items()},
        columns=dict(report.get("columns") or {}),
        ignored_columns=list(report.get("ignored_columns") or []),
    )
