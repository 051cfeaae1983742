"""One attempt at an evaluation, from reading the run directory to sending the last event.

    evaluation.json, inputs/, base/, against/ → evaluated.json, predictions.csv

An evaluation has no resume points. If an attempt is killed, the next attempt starts again and produces the same report.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import torch

from app import disk_errors
from app.checkpoint import directory as checkpoint
from app.errors import OstinatoError
from app.settings import cores
from app.training import base
from app.training.base import BaseCheckpoint
from app.training.data.faults import BadRows
from app.training.data.feature_names import other_features
from app.training.data.report import warnings_of
from app.training.evaluation.held_out import HeldOut, read
from app.training.evaluation.overlap import overlap
from app.training.evaluation.report import Measured, measure_version, write_report
from app.training.evaluation.unknown_labels import unknown_labels, warning_of
from app.training.events import Events
from app.training.failures import BadData, StopRequested, TrainingFailure, is_data_error, is_memory_error
from app.training.prepare.dataset import Rows
from app.training.run import opening
from app.training.run.preparation import Machine
from app.wire.trainer import Broke, Evaluated, EvaluationSpec, Phase, Stopped, TrainEvent, TrainFailed
from app.wording import quantity

log = logging.getLogger(__name__)
SPEC = "evaluation.json"
PREDICTIONS = "predictions.csv"
_OPTION = re.compile(r"\btraining\.(encoding|skip_bad_rows)\b")


class EvaluationSession:
    """An attempt at the evaluation described in a run directory.

    `stopping` returns whether the worker has asked the trainer to stop.
    """

    def __init__(self, run: Path, events: Events, stopping: Callable[[], bool], machine: Machine) -> None:
        self.run, self.events, self.stopping, self.machine = run, events, stopping, machine
        self.spec = msgspec.json.decode((run / SPEC).read_bytes(), type=EvaluationSpec)
        self.warnings: list[str] = []  # the warnings that the report repeats

    def attempt(self) -> TrainEvent:
        """Measure the versions. Emit and return the last event. Raises errors not caused by the request or data."""
        event = self._attempt()
        self.events.emit(event)
        return event

    def break_off(self, error: Exception) -> TrainEvent:
        """Emit and return an event about the unexpected error that ended the attempt.

        If the previous attempt ended with the same error, the job fails, because a retry would probably fail as well.
        """
        kind, path = type(error).__name__, self.run / "broken.json"
        cause = disk_errors.os_error(error)
        event: TrainEvent = Broke(kind, 0 if cause is None else cause.errno or 0)
        if cause is None and path.exists() and json.loads(path.read_text()) == {"kind": kind}:
            message = (
                f"the evaluation fails each time because of an internal error ({kind}); see the trainer's log for "
                "details"
            )
            event = TrainFailed("internal_error", message)
        elif cause is None:
            checkpoint.write_json(path, {"kind": kind})
        self.events.emit(event)
        return event

    def _attempt(self) -> TrainEvent:
        done = self.run / "evaluated.json"
        if done.exists():
            return msgspec.json.decode(done.read_bytes(), type=Evaluated)
        try:
            event = Evaluated(self._evaluate(), PREDICTIONS)
        except StopRequested:
            return Stopped(0)
        except (TrainingFailure, OstinatoError, RuntimeError, MemoryError) as error:
            return self._failed(error)
        checkpoint.write_bytes(done, msgspec.json.encode(event))
        return event

    def _failed(self, error: Exception) -> TrainFailed:
        """Return the failure to report for the evaluation. Raises the error again if another attempt may succeed."""
        if isinstance(error, BadRows):
            self.events.note("faults", 0, _own_words(error.listing()), "error", **error.to_dict())
        if isinstance(error, TrainingFailure) or (isinstance(error, OstinatoError) and not error.retryable):
            return TrainFailed(error.code, _own_words(error.message), error.param and _own_words(error.param))
        if not is_memory_error(error):
            raise error
        return TrainFailed("out_of_memory", "there was not enough memory to evaluate the version")

    def _evaluate(self) -> dict[str, Any]:
        torch.set_num_threads(self.machine.threads or cores())
        self.events.emit(Phase("validating_files"))
        spec, staging = self.spec, self.run / ".preparing"
        shutil.rmtree(staging, ignore_errors=True)
        own = base.read(self.run / "base")
        held_out = self._read(own, staging / "base")
        self._announce(held_out, own)
        self._warn_of_labels("unknown_labels", own, spec.model, held_out)
        self._warn_of_features("other_features", own, spec.model, held_out)
        self._warn_of_overlap("trained_on", own, spec.model, held_out)
        self.events.emit(Phase("evaluating"))
        measured = self._measure(own, held_out, spec.model)
        other = self._measure_other(staging / "against")
        report = write_report(self.run / PREDICTIONS, held_out, own, measured, other) | {"warnings": self.warnings}
        shutil.rmtree(staging, ignore_errors=True)
        return report

    def _measure_other(self, staging: Path) -> Measured | None:
        if self.spec.against is None:
            return None
        other = base.read(self.run / "against")
        held_out = self._read(other, staging)
        self._warn_of_labels("unknown_labels_against", other, self.spec.against, held_out)
        self._warn_of_features("other_features_against", other, self.spec.against, held_out)
        self._warn_of_overlap("trained_on_against", other, self.spec.against, held_out)
        return self._measure(other, held_out, self.spec.against)

    def _measure(self, version: BaseCheckpoint, held_out: HeldOut, reference: str) -> Measured:
        return measure_version(version, held_out, reference, self.machine.settled_device(), self._check_stop)

    def _read(self, version: BaseCheckpoint, staging: Path) -> HeldOut:
        staging.mkdir(parents=True)
        try:
            return read(self.run, self.spec, version, staging, self._check_stop)
        except Exception as error:
            if not is_data_error(error):
                raise
            log.exception("the data cannot be read")
            name = self.spec.file.filename
            raise BadData(f"{name} cannot be used ({type(error).__name__}: {error})", "file") from error

    def _announce(self, held_out: HeldOut, version: BaseCheckpoint) -> None:
        """Emit notes about the rows, and the remarks about the file."""
        rows = len(held_out.data) if isinstance(held_out.data, Rows) else held_out.data.characters
        unit = "row" if isinstance(held_out.data, Rows) else "character"
        marked = f", the {held_out.split} rows of the file" if held_out.split else ""
        self.events.note("data_report", 0, f"data: {quantity(rows, unit)}{marked}", rows=rows, split=held_out.split)
        if held_out.files is not None:
            remarks = [remark.to_dict() for remark in held_out.files.training.source.remarks]
            for remark in remarks:
                remark["message"] = _own_words(remark["message"])
            opening.announce_remarks(self.events, remarks)
        for kind, message in warnings_of(held_out.dropped, version.config.task):
            self._warn(kind, message)

    def _warn_of_overlap(self, kind: str, version: BaseCheckpoint, reference: str, held_out: HeldOut) -> None:
        if warning := overlap(version, reference, held_out, self.spec.file):
            self._warn(kind, warning)

    def _warn_of_features(self, kind: str, version: BaseCheckpoint, reference: str, held_out: HeldOut) -> None:
        if held_out.files and (warning := other_features(version.training, reference, held_out.files.training)):
            self._warn(kind, f"{self.spec.file.filename} {warning}")

    def _warn_of_labels(self, kind: str, version: BaseCheckpoint, reference: str, held_out: HeldOut) -> None:
        if warning := warning_of(reference, held_out, version.labels):
            self._warn(kind, warning, labels=unknown_labels(held_out, version.labels)[:1000])

    def _warn(self, kind: str, message: str, **details: Any) -> None:
        """Emit a warning that the report repeats."""
        self.warnings.append(message)
        self.events.note(kind, 0, message, "warn", **details)

    def _check_stop(self) -> None:
        if self.stopping():
            raise StopRequested


def _own_words(message: str) -> str:
    """Remove the prefix `training.` from the names of options, because an evaluation's request has no `training`."""
    return _OPTION.sub(r"\1", message)
