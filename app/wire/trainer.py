"""Messages between the worker and the trainer: `run.json`, and the trainer's events as JSON lines.

Both `run.json` and the events are stored on disk, so the names of these classes and their fields are part of the data
folder's format.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from app.wire.estimate import Estimate
from app.wire.training_options import VALIDATION_SPLIT, Columns, TrainingOptions

AUTO = "auto"  # in place of an architecture: try several, and keep the best
# Counts are integers. None stands for NaN and infinity, which JSON cannot represent.
Figures = Mapping[str, int | float | None]


class DataFile(msgspec.Struct, frozen=True):
    """A data file of a training run; `path` is relative to the run directory."""

    path: str
    filename: str
    sha256: str
    format: str | None = None  # None: detect it from the file's name and first bytes


class TrainSpec(msgspec.Struct, frozen=True):
    """The contents of `run.json`, the trainer's only input. Equal specs produce equal weights, unless training time is
    limited.

    `model` is an architecture, or "base" to fine-tune the checkpoint in the run directory's `base/`. If `model` is
    "auto", the trainer only plans the trials.
    """

    model: str
    training_file: DataFile
    seed: int
    validation_file: DataFile | None = None
    task: str | None = None  # classification | generation | regression | multilabel; None: inferred from the data
    columns: Columns = Columns()
    validation_split: float = VALIDATION_SPLIT
    training: TrainingOptions = TrainingOptions()


class EvaluationSpec(msgspec.Struct, frozen=True):
    """The contents of `evaluation.json`: the file on which to evaluate the checkpoint in the run directory's `base/`.

    `model` and `against` are the references to the versions, for use in messages. The run directory's `against/`
    contains the checkpoint for `against`. `encoding` and `skip_bad_rows` have the same meaning as in the training
    options. With a `validation_split` above 0, only the rows that a training run with this split would hold out are
    used, unless the file assigns rows to splits. Equal specs produce equal reports.
    """

    model: str
    file: DataFile
    against: str | None = None
    columns: Columns = Columns()
    encoding: str | None = None
    skip_bad_rows: float = 0.0
    validation_split: float = 0.0


class Phase(msgspec.Struct, tag=True, frozen=True):
    """The phase that the trainer enters: validating_files | training | evaluating | publishing."""

    phase: str


class Note(msgspec.Struct, tag=True, frozen=True):
    """A human-readable message. No two notes of a job have the same `kind` and `step`."""

    kind: str
    step: int
    level: str  # info | warn | error
    message: str
    data: dict[str, Any] = {}


class Metrics(msgspec.Struct, tag=True, frozen=True):
    """The metrics at one step, such as train_loss, valid_loss and lr.

    If `final` is true, the metrics are those of the kept checkpoint on all validation data.
    """

    step: int
    total_steps: int | None
    data: Figures
    progress: float  # 0 to 1
    seconds_left: float | None = None
    trained_tokens: int = 0
    final: bool = False


class CheckpointSaved(msgspec.Struct, tag=True, frozen=True):
    """A complete, loadable checkpoint has been saved; `directory` is relative to the run directory."""

    step: int
    directory: str
    metrics: Figures


class Done(msgspec.Struct, tag=True, frozen=True):
    """The trainer's final event on success. Paths are relative to the run directory."""

    checkpoint: str
    task: str
    architecture: str
    parameters: int
    metrics: dict[str, Any]
    trained_tokens: int
    results: str  # the metrics CSV
    step: int = 0  # the step of the checkpoint
    errors: str | None = None  # a .npy file: the error of each validation row, or of each part of a held-out text
    probes: str | None = None  # inputs from the validation data (`app.wire.probes`)


class PlannedTrial(msgspec.Struct, frozen=True):
    """One of the training runs compared by an auto job.

    `steps` is None if the run is limited only by time. `work` is a rough number of floating-point operations; the job's
    progress is the mean of its trials' progress, weighted by `work`.
    """

    model: str
    training: TrainingOptions
    parameters: int
    steps: int | None
    work: float


class Planned(msgspec.Struct, tag=True, frozen=True):
    """The trainer's final event for an auto job: the trials to run, in order."""

    task: str
    trials: list[PlannedTrial]


class Evaluated(msgspec.Struct, tag=True, frozen=True):
    """The trainer's final event for an evaluation. `predictions` is the path of a CSV file in the run directory."""

    report: dict[str, Any]
    predictions: str


class Estimated(msgspec.Struct, tag=True, frozen=True):
    """The trainer's final event for a dry run."""

    estimate: Estimate


class Stopped(msgspec.Struct, tag=True, frozen=True):
    """The trainer's final event when it stops on request. If training has begun, a resume point has been saved."""

    step: int


class TrainFailed(msgspec.Struct, tag=True, frozen=True):
    """The trainer's final event on failure. `checkpoint` is the best checkpoint so far, if any, saved at `step`."""

    code: str  # invalid_training_file, invalid_hyperparameter, diverged, out_of_memory, …
    message: str
    param: str | None = None
    checkpoint: str | None = None
    metrics: Figures = {}
    step: int = 0


class Broke(msgspec.Struct, tag=True, frozen=True):
    """The trainer's final event after an unexpected exception of class `kind`; another attempt may succeed.

    `errno` is the number of the operating system error that caused the exception, or 0 if there was none.
    """

    kind: str
    errno: int = 0


TrainEvent = (
    Phase | Note | Metrics | CheckpointSaved | Done | Evaluated | Planned | Estimated | Stopped | TrainFailed | Broke
)
