"""One attempt at a training run, from reading the run directory to sending the last event.

    run.json, inputs/, base/ → prepared/ → settled.json → baseline/ → resume/, checkpoints/step-N/
    → checkpoint/, results.csv

The result of each stage is either complete or absent, so that a later attempt can continue after the last completed
stage.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import torch

from app import disk_errors
from app.checkpoint import directory as checkpoint
from app.errors import OstinatoError
from app.training import base
from app.training.base import BaseCheckpoint
from app.training.data.faults import BadRows
from app.training.events import Events
from app.training.failures import StopRequested, TrainingFailure, is_memory_error
from app.training.loop import progress as resume
from app.training.loop.batches import derive
from app.training.loop.loop import Hooks, Training
from app.training.loop.progress import Progress, ResumePoint
from app.training.plan import config
from app.training.plan.config import Settled
from app.training.plan.inheritance import adapter_of, take_over
from app.training.plan.memory import check_memory, estimate_memory
from app.training.prepare.dataset import Dataset
from app.training.prepare.encode_generation import recount_characters
from app.training.report import export
from app.training.report.weights import Weights
from app.training.run import opening
from app.training.run.baseline import fit_baseline
from app.training.run.branch import bind_tokens, measure_frequencies
from app.training.run.completion import complete
from app.training.run.pieces import reduce_pieces
from app.training.run.planning import plan_trials
from app.training.run.preparation import Machine, load_or_prepare, load_or_settle
from app.wire import shortage
from app.wire.trainer import (
    AUTO,
    Broke,
    CheckpointSaved,
    Done,
    Phase,
    Planned,
    Stopped,
    TrainEvent,
    TrainFailed,
    TrainSpec,
)
from models.ngrams import Ngrams
from models.tasks import build


class Session:
    """An attempt at the training run described in a run directory.

    `stopping` returns whether the worker has asked the trainer to save its progress and stop.
    """

    def __init__(self, run: Path, events: Events, stopping: Callable[[], bool], machine: Machine) -> None:
        self.run, self.events, self.stopping, self.machine = run, events, stopping, machine
        self.spec = msgspec.json.decode((run / "run.json").read_bytes(), type=TrainSpec)
        self.progress = Progress()
        self._saved_at = time.monotonic()

    def attempt(self) -> TrainEvent:
        """Train until done or stopped. Emit and return the last event. Raises errors not caused by request or data."""
        event = self._attempt()
        self.events.emit(event)
        return event

    def break_off(self, error: Exception) -> TrainEvent:
        """Emit and return an event about the unexpected error that ended the attempt.

        If the previous attempt ended with the same error at the same resume point, the job fails, because a retry would
        probably fail as well.
        """
        kind, path = type(error).__name__, self.run / "broken.json"
        record = {"kind": kind, "resumed": resume.newest(self.run / "resume")}
        again = path.exists() and json.loads(path.read_text()) == record
        cause = disk_errors.os_error(error)
        event: TrainEvent = Broke(kind, 0 if cause is None else cause.errno or 0)
        if disk_errors.awaited(error):
            # The job waits until the disk error is resolved, so the error is not recorded. The disk may be full of
            # partial files.
            self._discard_partial()
        elif again and not isinstance(error, OSError) and cause is None:  # I/O errors may be temporary
            message = f"the training run fails at the same step each time because of an internal error ({kind}); "
            event = self._failed("internal_error", f"{message}see the trainer's log for details", None)
        else:
            checkpoint.write_json(path, record)
        self.events.emit(event)
        return event

    def _discard_partial(self) -> None:
        """Delete the incomplete files that a failed attempt has left behind."""
        partial = [
            self.run / ".preparing",
            self.run / ".checkpoint.tmp",
            self.run / ".baseline.tmp",
            self.run / "resume" / ".tmp",
        ]
        for path in (*partial, *(self.run / "checkpoints").glob(".*.tmp")):
            shutil.rmtree(path, ignore_errors=True)

    def _attempt(self) -> TrainEvent:
        done = self.run / "done.json"
        if done.exists() and (self.run / "checkpoint").is_dir():
            return msgspec.json.decode(done.read_bytes(), type=Done)
        try:
            return self._work()
        except StopRequested:
            return Stopped(self.progress.step)
        except TrainingFailure as error:
            self._list_faults(error)
            return self._failed(error.code, error.message, error.param)
        except OstinatoError as error:
            if error.retryable:
                raise
            return self._failed(error.code, error.message, error.param)
        except (RuntimeError, MemoryError) as error:
            if not is_memory_error(error):
                raise
            return self._out_of_memory()

    def _out_of_memory(self) -> TrainEvent:
        """Return the last event: Broke if the run is to restart with smaller pieces, otherwise TrainFailed."""
        if shortage.report(self.run):
            return Broke(shortage.ENDED)
        message = "there was not enough memory; use a smaller batch_size, width or context_length"
        return self._failed("out_of_memory", message, "training.batch_size")

    def _list_faults(self, error: TrainingFailure) -> None:
        if isinstance(error, BadRows):
            self.events.note("faults", 0, error.listing(), "error", **error.to_dict())

    def _failed(self, code: str, message: str, param: str | None) -> TrainFailed:
        best = str(self._best().relative_to(self.run)) if self.progress.best_step >= 0 else None
        return TrainFailed(code, message, param, best, self.progress.best_metrics, max(0, self.progress.best_step))

    def _work(self) -> TrainEvent:
        return self._plan() if self.spec.model == AUTO else self._train()

    def _plan(self) -> Planned:
        self.events.emit(Phase("validating_files"))
        return plan_trials(self.run, self.spec, self.machine, self.events, self._check_stop)

    def _train(self) -> Done:
        self.events.emit(Phase("validating_files"))
        base_checkpoint = base.find(self.run, self.spec)
        config.check(self.spec, base_checkpoint)
        dataset = load_or_prepare(self.run, self.spec, base_checkpoint, self._check_stop)
        settled = load_or_settle(self.run, self.spec, dataset, base_checkpoint, self.machine)
        settled = reduce_pieces(self.run, settled, self.events)
        export.check(self.spec, settled, dataset)
        dataset = recount_characters(dataset, settled.config.context_length)
        configure_torch(settled)
        opening.announce(self.events, dataset, settled)
        if not resume.newest(self.run / "resume"):
            check_memory(settled, estimate_memory(settled, dataset), self.machine.memory_limit(settled.device))
        self._check_stop()
        training = self._training(settled, dataset, base_checkpoint)
        self.events.emit(Phase("training"))
        baseline = fit_baseline(self.run, self.spec, settled, dataset, self.events, self._check_stop)
        try:
            training.run()
        except StopRequested:
            self._save(training)
            raise
        if training.schedule.ended_early:
            self._note_early_stop(settled)
        return complete(self.run, self.spec, training, self._best(), baseline, self.events, self._check_stop)

    def _training(self, settled: Settled, dataset: Dataset, base_checkpoint: BaseCheckpoint | None) -> Training:
        """Return the training state from the newest readable resume point, or at step 0 if there is none."""
        torch.manual_seed(derive(settled.seed, "initialisation"))
        network = build(settled.config)
        if base_checkpoint is not None:
            self.events.note("base", 0, take_over(network, base_checkpoint, settled, dataset.facts.labels))
        branch = bind_tokens(network, dataset)
        point = self._resume_point(settled)
        if branch is not None and base_checkpoint is None and point is None:
            self._measure(branch, dataset, settled)
        network.to(settled.device)
        self.progress = point.progress if point else Progress()
        weights = Weights(network, base_checkpoint, adapter_of(settled, base_checkpoint))
        hooks = Hooks(
            self.events,
            self.stopping,
            save=lambda: self._save(training),
            save_due=lambda: time.monotonic() - self._saved_at >= self.machine.resume_every,
            keep=lambda metrics: self._keep(training, weights, metrics),
        )
        training = Training(settled, dataset, network, self.progress, hooks)
        if point is not None:
            training.restore(point.tensors)
            self.events.note("resumed", self.progress.step, f"continuing from step {self.progress.step}")
        return training

    def _measure(self, branch: Ngrams, dataset: Dataset, settled: Settled) -> None:
        measure_frequencies(branch, dataset, settled.config.context_length, self._check_stop)

    def _resume_point(self, settled: Settled) -> ResumePoint | None:
        point, damaged = resume.load(self.run / "resume", settled.digests, settled.device)
        begin = f"step {point.progress.step}" if point else "the beginning"
        for lost in damaged:
            message = f"the resume point at step {lost.step} is damaged ({lost.reason}): continuing from {begin}"
            self.events.note("resume_point_damaged", lost.step, message, "warn")
            # The point is deleted only after the note is sent: if this attempt is killed before that, the next attempt
            # sends the note.
            resume.discard(lost)
        return point

    def _save(self, training: Training) -> None:
        resume.save(self.run / "resume", training.progress, training.tensors(), training.settled.digests)
        self._saved_at = time.monotonic()

    def _keep(self, training: Training, weights: Weights, metrics: dict[str, float]) -> None:
        directory = self._best()
        directory.parent.mkdir(exist_ok=True)
        export.write(directory, weights, self.spec, training.settled, training.dataset, metrics)
        self.events.emit(CheckpointSaved(self.progress.step, str(directory.relative_to(self.run)), metrics))

    def _best(self) -> Path:
        return self.run / "checkpoints" / f"step-{self.progress.best_step}"

    def _note_early_stop(self, settled: Settled) -> None:
        step, best, start = self.progress.step, self.progress.best_step, self.progress.cooldown_start
        reason = f"{settled.patience} evaluations found no better {settled.metric} than the one at step {best}"
        message = f"stopped early at step {step}: the last {reason}"
        if start >= 0:
            reason = f"up to step {start}, {settled.patience} consecutive evaluations found no better {settled.metric}"
            message = f"stopped early at step {step}: {reason}; the learning rate then decayed until the end"
        self.events.note("early_stop", step, message)

    def _check_stop(self) -> None:
        if self.stopping():
            raise StopRequested


def configure_torch(settled: Settled) -> None:
    """Configure torch's threads and determinism in this process."""
    torch.set_num_threads(settled.threads)
    # Has the same effect as `use_deterministic_algorithms`, which would also import torch's compiler.
    torch.set_deterministic_debug_mode("warn" if settled.deterministic else "default")
    # Filling new tensors takes time, and serves only to detect reads of uninitialised memory.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
