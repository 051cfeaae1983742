"""The result of a training job's dry run. The trainer computes the result, and the API returns it."""

from __future__ import annotations

from typing import Any

import msgspec


class EstimatedMemory(msgspec.Struct, frozen=True):
    """A trainer's peak memory in bytes: `total`, and its parts.

    `optimizer` is the memory for gradients, optimizer moments and averaged weights. `limit` is the maximum memory that
    a training run may use.
    """

    weights: int
    optimizer: int
    activations: int
    libraries: int
    total: int
    limit: int


class EstimatedSeconds(msgspec.Struct, frozen=True):
    """The duration of a training run in seconds: `total`, and its parts.

    `preparation` is the time before the first step, including the fit of the baseline. `closing` is the time after the
    last step, during which the version is evaluated on all held-out data, calibrated and written.
    """

    preparation: float
    steps: float
    evaluations: float
    closing: float
    total: float


class TrainingChoice(msgspec.Struct, frozen=True):
    """The value of the training option `option` in a run, and the reason for this value in one sentence.

    `requested` is true if the request sets the option; otherwise, the trainer has chosen the value.
    """

    option: str
    value: bool | int | float | str
    reason: str
    requested: bool


class TrainingPlan(msgspec.Struct, frozen=True):
    """One training run, with its network, settings, memory and time.

    `layers` and `width` are null for `linear`, which has neither. `steps` is the maximum number of steps, or null if
    only `max_seconds` limits the run. If `ends_earlier` is not null, it explains why the run may take fewer steps;
    `seconds` is then the duration of the longest possible run. `trained_tokens` is the number of tokens or numeric
    steps that the run reads in all of its steps.
    """

    model: str
    architecture: str
    layers: int | None
    width: int | None
    context_length: int
    parameters: int
    steps: int | None
    ends_earlier: str | None
    trained_tokens: int | None
    batch_size: int
    learning_rate: float
    optimizer: str
    schedule: str
    precision: str
    device: str
    threads: int
    seconds_per_step: float
    memory: EstimatedMemory
    seconds: EstimatedSeconds
    choices: list[TrainingChoice] = []


class DataSummary(msgspec.Struct, frozen=True):
    """The data as the trainer reads it, by split (train, validation, test).

    `rows` is empty for plain text; `characters` is empty for all other data. `tokens` counts tokens or numeric steps.
    `labels` contains the number of rows for each label. `columns` maps each role, such as text and label, to the column
    with this role, or to a list of columns; `ignored_columns` have no role.
    """

    rows: dict[str, int]
    characters: dict[str, int]
    tokens: dict[str, int]
    labels: dict[str, dict[str, int]]
    columns: dict[str, str | list[str]] = {}
    ignored_columns: list[str] = []


class EstimateNote(msgspec.Struct, frozen=True):
    """A remark by the trainer about the data or the settings; `level` is info or warn."""

    level: str
    kind: str
    message: str


class Estimate(msgspec.Struct, frozen=True):
    """The result of a dry run: the data, and the plan of each training run. An estimate without plans precedes it.

    A job with `model: "auto"` has several runs.

    `vocab_size` is null for numeric data. `seconds` is the total time of all runs, one after another. `parameters` and
    `memory` describe the largest run. `report` is the trainer's report on the data, in the format stored with a
    version.
    """

    task: str
    data: DataSummary
    vocab_size: int | None
    plans: list[TrainingPlan]
    parameters: int
    memory: int
    seconds: float
    notes: list[EstimateNote] = []
    report: dict[str, Any] = {}
