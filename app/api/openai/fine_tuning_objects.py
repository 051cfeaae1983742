"""JSON objects for training jobs, in OpenAI's format. Every field is always present."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from app.api.http.job_objects import JobError
from app.jobs.records import Job, JobCheckpoint
from app.jobs.trials import figures_of

AUTO = "auto"
FIGURES = (
    "train_loss", "train_mean_token_accuracy", "valid_loss", "valid_mean_token_accuracy", "full_valid_loss",
    "full_valid_mean_token_accuracy",
)  # fmt: skip


class TrialObject(msgspec.Struct, frozen=True):
    """One of the training runs compared by a job with `model: "auto"`. Each trial is a separate job, whose id is `id`.

    `metrics` contains the trial's main metrics on the validation data. `chosen` is true if its network was published.
    """

    id: str
    model: str
    status: str
    progress: float
    parameters: int | None
    metrics: dict[str, float]
    error: str | None
    chosen: bool


class JobObject(msgspec.Struct, frozen=True):
    """A training job.

    `status` is validating_files, queued, running, paused, succeeded, failed or cancelled. `phase` is more detailed than
    `status`.
    `fine_tuned_model` is `name:version` once the job has succeeded. `hyperparameters` contains the requested settings
    and, once training has begun, those that were chosen automatically. `progress` increases from 0 to 1. For a queued
    job, `jobs_before` is the number of jobs that are running or will start before it; for other jobs, it is null.
    `trials` contains the trials of a job whose `model` is auto, and `reason` explains why one of them was chosen;
    `parent_id` is the job to which a trial belongs.
    """

    id: str
    object: Literal["fine_tuning.job"]
    created_at: int
    finished_at: int | None
    error: JobError | None
    fine_tuned_model: str | None
    hyperparameters: dict[str, Any]
    model: str
    organization_id: str
    result_files: list[str]
    seed: int
    status: str
    trained_tokens: int | None
    training_file: str
    validation_file: str | None
    estimated_finish: int | None
    integrations: list[Any] | None
    metadata: dict[str, str] | None
    method: dict[str, Any] | None
    suffix: str | None
    user_provided_suffix: str | None
    task: str | None
    phase: str
    progress: float
    attempt: int
    priority: int
    started_at: int | None
    columns: dict[str, str]
    validation_split: float
    publish: dict[str, Any]
    training: dict[str, Any]
    jobs_before: int | None
    parent_id: str | None
    trials: list[TrialObject]
    reason: str | None


class CheckpointObject(msgspec.Struct, frozen=True):
    """A job's checkpoint. `fine_tuned_model_checkpoint` can be sent as `model` in requests."""

    id: str
    object: str
    created_at: int
    fine_tuned_model_checkpoint: str
    fine_tuning_job_id: str
    step_number: int
    metrics: dict[str, float | None]


class JobList(msgspec.Struct, frozen=True):
    """A page of jobs."""

    object: str
    data: list[JobObject]
    has_more: bool


class CheckpointList(msgspec.Struct, frozen=True):
    """A page of checkpoints."""

    object: str
    data: list[CheckpointObject]
    has_more: bool
    first_id: str | None
    last_id: str | None


def job_object(job: Job) -> JobObject:
    chosen = hyperparameters(job)
    error = job.error
    return JobObject(
        id=job.id,
        object="fine_tuning.job",
        created_at=int(job.created_at),
        finished_at=_seconds(job.finished_at),
        error=JobError(str(error.get("code")), str(error.get("message")), error.get("param")) if error else None,
        fine_tuned_model=job.fine_tuned_model,
        hyperparameters=chosen,
        model=job.model,
        organization_id=job.owner,
        result_files=[str(id_) for id_ in job.result_files],
        seed=job.seed,
        status=job.public_status,
        trained_tokens=job.trained_tokens,
        training_file=job.training_file,
        validation_file=job.validation_file,
        estimated_finish=None if job.lost else _seconds(job.estimated_finish),
        integrations=None,
        metadata=job.meta,
        method={"type": "supervised", "supervised": {"hyperparameters": chosen}},
        suffix=job.request.get("suffix"),
        user_provided_suffix=job.request.get("suffix"),
        task=job.request.get("task") or job.settled.get("task") or _network(job).get("task"),
        phase=job.public_phase,
        progress=job.progress,
        attempt=job.attempt,
        priority=job.priority,
        started_at=_seconds(job.started_at),
        columns=dict(job.request.get("columns") or {}),
        validation_split=float(job.request.get("validation_split", 0.1)),
        publish={
            "name": job.publish_name,
            "alias": job.publish_alias,
            "expected_version": job.publish_expected_version,
        },
        training=dict(job.request.get("training") or {}),
        jobs_before=job.jobs_before,
        parent_id=job.parent_id,
        trials=_trials(job),
        reason=(job.result or {}).get("reason"),
    )


def _trials(job: Job) -> list[TrialObject]:
    table = (job.result or {}).get("trials") or [{}] * len(job.trials)
    return [
        TrialObject(
            id=trial.id,
            model=trial.model,
            status=trial.public_status,
            progress=trial.progress,
            parameters=(trial.result or {}).get("parameters"),
            metrics=figures_of(trial.result or {}),
            error=(trial.error or {}).get("message"),
            chosen=bool(row.get("chosen")),
        )
        for trial, row in zip(job.trials, table, strict=True)
    ]


def hyperparameters(job: Job) -> dict[str, Any]:
    """The requested and automatically chosen settings. OpenAI's three hyperparameters are always present."""
    requested = dict(job.request.get("training") or {})
    chosen = {k: v for k, v in job.settled.items() if isinstance(v, str | int | float | bool)}
    settings = chosen | requested
    epochs = settings.pop("epochs", None)
    if isinstance(epochs, int | float):
        epochs = math.ceil(epochs)  # OpenAI's typed clients expect an integer; `training.epochs` is exact
    of_openai = {"n_epochs": epochs, "batch_size": None, "learning_rate_multiplier": None}
    return {name: AUTO if value is None else value for name, value in (of_openai | settings).items()}


def checkpoint_object(checkpoint: JobCheckpoint) -> CheckpointObject:
    metrics: dict[str, float | None] = {"step": checkpoint.step, **dict.fromkeys(FIGURES)}
    figures: dict[str, float | None] = {k: v for k, v in checkpoint.metrics.items() if isinstance(v, int | float)}
    return CheckpointObject(
        id=checkpoint.id,
        object="fine_tuning.job.checkpoint",
        created_at=int(checkpoint.created_at),
        fine_tuned_model_checkpoint=checkpoint.id,
        fine_tuning_job_id=checkpoint.job_id,
        step_number=checkpoint.step,
        metrics=metrics | figures,
    )


def _network(job: Job) -> Mapping[str, Any]:
    model = job.settled.get("model")
    return model if isinstance(model, dict) else {}


def _seconds(time: float | None) -> int | None:
    return None if time is None else int(time)
