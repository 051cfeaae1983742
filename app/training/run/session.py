"""One attempt at a training, from the run directory to its last event.

    run.json, inputs/, base/ → prepared/ → settled.json → resume/, checkpoints/step-N/ → checkpoint/, results.csv

Each arrow leaves something whole behind, so that a later attempt goes on from there. Knows the order of things; the
work is done elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors.torch import load_file

from app.checkpoint import directory as checkpoint
from app.errors import OstinatoError
from app.settings import cores
from app.training import base
from app.training.events import Events
from app.training.failures import StopRequested, TrainingFailure, is_memory_error
from app.training.loop import progress
from app.training.loop.batches import derive
from app.training.loop.evaluate import Part, evaluate
from app.training.loop.loop import Hooks, Training, check_figures, validation
from app.training.loop.progress import Progress
from app.training.plan import config
from app.training.plan.config import Settled, settle
from app.training.plan.inheritance import take_over
from app.training.prepare import dataset
from app.training.prepare.dataset import Dataset
from app.training.prepare.encode_generation import recount_characters
from app.training.prepare.prepare import prepare
from app.training.report import card, export, results
from app.wire.trainer import Broke, CheckpointSaved, Done, Metrics, Phase, Stopped, TrainEvent, TrainFailed, TrainSpec
from models.tasks import build


@dataclass(frozen=True, slots=True)
class Machine:
    """What the command line says of this attempt. `threads` 0: one a core."""

    resume_every: float = 15.0
    threads: int = 0
    device: str = "auto"

    def settled_device(self) -> str:
        if self.device != "auto":
            return self.device
        return "cuda" if torch.cuda.is_available() else "cpu"


class Session:
    def __init__(self, run: Path, events: Events, stopping: Callable[[], bool], machine: Machine) -> None:
        self.run, self.events, self.stopping, self.machine = run, events, stopping, machine
        self.spec = msgspec.json.decode((run / "run.json").read_bytes(), type=TrainSpec)
        self.state = Progress()
        self._saved_at = time.monotonic()

    def attempt(self) -> TrainEvent:
        """Train to the end, or as far as one may, and say so. What is no fault of the request is raised."""
        event = self._attempt()
        self.events.emit(event)
        return event

    def break_off(self, error: Exception) -> TrainEvent:
        """Say that something unforeseen ended the attempt; the same once more, from the same resume point, ends the
        job."""
        kind, path = type(error).__name__, self.run / "broken.json"
        told = {"kind": kind, "resumed": progress.newest(self.run / "resume")}
        again = path.exists() and json.loads(path.read_text()) == told
        event: TrainEvent = Broke(kind)
        if again and not isinstance(error, OSError):  # a machine that lacks something may have it later
            said = f"the training breaks off at the same place each time, by a fault of the service ({kind})"
            event = self._failed("internal_error", f"{said}; its log tells more", None)
        else:
            checkpoint.write_json(path, told)
        self.events.emit(event)
        return event

    def _attempt(self) -> TrainEvent:
        done = self.run / "done.json"
        if done.exists() and (self.run / "checkpoint").is_dir():
            return msgspec.json.decode(done.read_bytes(), type=Done)
        try:
            return self._train()
        except StopRequested:
            return Stopped(self.state.step)
        except TrainingFailure as error:
            return self._failed(error.code, error.message, error.param)
        except OstinatoError as error:
            if error.retryable:
                raise
            return self._failed(error.code, error.message, error.param)
        except (RuntimeError, MemoryError) as error:
            if not is_memory_error(error):
                raise
            message = "the memory did not suffice; use a smaller batch_size, width or context_length"
            return self._failed("out_of_memory", message, "training.batch_size")

    def _failed(self, code: str, message: str, param: str | None) -> TrainFailed:
        best = self._best() if self.state.best_step >= 0 else None
        kept = None if best is None else str(best.relative_to(self.run))
        return TrainFailed(code, message, param, kept, self.state.best_metrics, max(0, self.state.best_step))

    def _train(self) -> Done:
        self.events.emit(Phase("validating_files"))
        found = base.find(self.run, self.spec)
        config.check(self.spec, found)
        prepared = self._prepared(found)
        settled = self._settled(prepared, found)
        export.check(self.spec, settled, prepared)
        prepared = recount_characters(prepared, settled.config.context_length)
        torch.set_num_threads(settled.threads)
        # use_deterministic_algorithms would say the same and load torch's compiler to say it there too
        torch.set_deterministic_debug_mode("warn" if settled.deterministic else "default")
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        self._tell(prepared, settled)
        self.check()
        training = self._training(settled, prepared, found)
        self.events.emit(Phase("training"))
        try:
            training.run()
        except StopRequested:
            self._save(training)
            raise
        if training.hopeless and training.progress < 1.0:
            self._tell_early(training)
        return self._finish(training)

    def check(self) -> None:
        if self.stopping():
            raise StopRequested

    # Before step 0.

    def _prepared(self, found: base.BaseCheckpoint | None) -> Dataset:
        directory = self.run / "prepared"
        if directory.is_dir():
            return dataset.load(directory)
        aside = self.run / ".preparing"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        return dataset.save(directory, aside, prepare(self.run, self.spec, found, aside, self.check))

    def _settled(self, prepared: Dataset, found: base.BaseCheckpoint | None) -> Settled:
        path = self.run / "settled.json"
        digests = self._digests(prepared)
        if path.exists():
            settled = Settled(**json.loads(path.read_text()))
            for name, digest in digests.items():
                if settled.digests[name] != digest:
                    raise TrainingFailure(
                        "resume_mismatch", f"the {name} changed since the training began; start a new job"
                    )
            return settled
        threads = self.machine.threads or cores()
        settled = settle(self.spec, prepared, found, self.machine.settled_device(), threads)
        settled = replace(settled, digests=digests)
        checkpoint.write_json(path, settled.to_dict())
        return settled

    def _digests(self, prepared: Dataset) -> dict[str, str]:
        files = [self.spec.training_file, self.spec.validation_file]
        tokenizer = b"" if prepared.tokenizer is None else prepared.tokenizer.read_bytes()
        return {
            "data": " ".join(_sha256(self.run / file.path) for file in files if file is not None),
            "tokenizer": hashlib.sha256(tokenizer).hexdigest(),
            "configuration": hashlib.sha256(msgspec.json.encode(self.spec, order="deterministic")).hexdigest(),
        }

    def _tell(self, prepared: Dataset, settled: Settled) -> None:
        report = prepared.facts.report | {"truncated": settled.truncated}
        counts = report.get("rows") or report.get("characters") or {}
        said = ", ".join(f"{count:,} {name}" for name, count in counts.items())
        self.events.note("data_report", 0, f"data: {said} {'rows' if 'rows' in report else 'characters'}", **report)
        for kind, message in _warnings(report, settled):
            self.events.note(kind, 0, message, "warn")
        chosen = {k: v for k, v in settled.to_dict().items() if k not in ("digests", "class_weights")}
        self.events.note("settled", 0, _summary(settled), **chosen)

    def _training(self, settled: Settled, prepared: Dataset, found: base.BaseCheckpoint | None) -> Training:
        torch.manual_seed(derive(settled.seed, "initialisation"))
        network = build(settled.config)
        if found is not None:
            self.events.note("base", 0, take_over(network, found, settled, prepared.facts.labels))
        network.to(settled.device)
        point = progress.load(self.run / "resume", settled.digests, settled.device)
        self.state = point.state if point else Progress()
        hooks = Hooks(
            self.events,
            self.stopping,
            save=lambda: self._save(training),
            save_due=lambda: time.monotonic() - self._saved_at >= self.machine.resume_every,
            keep=lambda metrics: self._keep(training, metrics),
        )
        training = Training(settled, prepared, network, self.state, hooks)
        if point is not None:
            training.restore(point.tensors)
            self.events.note("resumed", self.state.step, f"going on from step {self.state.step}")
        return training

    # While training.

    def _save(self, training: Training) -> None:
        progress.save(self.run / "resume", training.state, training.tensors(), training.settled.digests)
        self._saved_at = time.monotonic()

    def _keep(self, training: Training, metrics: dict[str, float]) -> None:
        directory = self._best()
        directory.parent.mkdir(exist_ok=True)
        export.write(directory, training.network, self.spec, training.settled, training.prepared, metrics)
        self.events.emit(CheckpointSaved(self.state.step, str(directory.relative_to(self.run)), metrics))

    def _best(self) -> Path:
        return self.run / "checkpoints" / f"step-{self.state.best_step}"

    # After the last step.

    def _tell_early(self, training: Training) -> None:
        settled, state = training.settled, training.state
        said = f"stopped early at step {state.step}: the last {settled.patience} evaluations brought no better"
        self.events.note("early_stop", state.step, f"{said} {settled.metric} than step {state.best_step}'s")

    def _finish(self, training: Training) -> Done:
        self.events.emit(Phase("evaluating"))
        settled, prepared, network = training.settled, training.prepared, training.network
        network.load_state_dict(load_file(self._best() / "model.safetensors", device=settled.device))
        parts = {name: part for name, part in prepared.parts.items() if name != "train"}
        metrics: dict[str, Any] = {
            name: evaluate(network, Part(part, prepared.facts, settled.device), self.check)
            for name, part in parts.items()
        }
        for name, found in metrics.items():
            check_figures(name, found, self.state.best_step, settled)
        if settled.eval_rows is not None:
            self._tell_full(settled, metrics["validation"])
        self.events.emit(Phase("publishing"))
        parameters = sum(parameter.numel() for parameter in network.parameters())
        text = card.write(self.spec, settled, prepared.facts, metrics, parameters)
        results.write_csv(self.run / "results.csv", self.state.history)
        model = settled.config
        tokens = self.state.trained_tokens
        done = Done(
            "checkpoint",
            model.task,
            model.architecture,
            parameters,
            metrics,
            tokens,
            "results.csv",
            self.state.best_step,
        )
        checkpoint.write_bytes(self.run / "done.json", msgspec.json.encode(done))
        export.finish(self.run / "checkpoint", self._best(), text, metrics, self.state, prepared)
        return done

    def _tell_full(self, settled: Settled, metrics: dict[str, Any]) -> None:
        """The figures over all held-out data of what is kept, where those on the way were of a part."""
        step, tokens = self.state.best_step, self.state.trained_tokens
        self.events.emit(
            Metrics(step, settled.total_steps, validation(metrics, full=True), 1.0, 0.0, tokens, final=True)
        )


def _summary(settled: Settled) -> str:
    model = settled.config
    end = f"{settled.total_steps} steps" if settled.total_steps else f"{settled.max_seconds:g} seconds"
    return (
        f"{model.architecture}: {model.layers} layers of {model.width}, context {model.context_length}, "
        f"{end} of {settled.batch_size * settled.accumulation}, learning rate {settled.learning_rate:g}, "
        f"{settled.threads} thread(s), {settled.precision}"
    )


def _warnings(report: dict[str, Any], settled: Settled) -> list[tuple[str, str]]:
    leaks = dict(report.get("leaks") or {})
    among_held_out = leaks.pop("test_in_validation", 0)
    unit = "steps" if settled.config.input == "features" else "tokens"
    said = {
        "conflicting": (report.get("conflicting_labels"), "inputs stand there with more than one label"),
        "conflicting_values": (report.get("conflicting_values"), "inputs stand there with more than one value"),
        "empty": (report.get("empty"), "rows without a text are left out"),
        "duplicates": (sum((report.get("duplicates") or {}).values()), "rows repeat another of their split"),
        "leaks": (sum(leaks.values()), "held-out rows are in the train rows too"),
        "test_leaks": (among_held_out, "test rows are in the validation rows too"),
        "truncated": (settled.truncated, f"rows are cut to {settled.config.context_length} {unit}"),
    }
    found = [(kind, f"{count:,} {message}") for kind, (count, message) in said.items() if count]
    ignored = report.get("ignored_columns")
    if ignored:
        names = ", ".join(map(repr, ignored[:20]))
        task = settled.config.task
        message = f"this is for {task}, and these columns are left out: {names}; `columns` says what is in a column"
        found.append(("ignored_columns", message))
    if share := report.get("unused_split"):
        message = f"validation_split {share:g} does nothing: the data says itself which rows are held out"
        found.append(("unused_split", message))
    if settled.max_seconds:
        found.append(("time_limit", "with max_seconds the clock decides: the same request may give other weights"))
    return found


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
