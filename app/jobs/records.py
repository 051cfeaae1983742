"""Immutable records of jobs, their events and checkpoints, and the names of statuses and phases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

from app.db import leases, tables
from app.db.tables import JobCheckpointRow, JobEventRow, JobRow
from app.wire.trainer import AUTO

QUEUED, RUNNING, PAUSED = "queued", "running", "paused"
SUCCEEDED, FAILED, CANCELLED = "succeeded", "failed", "cancelled"
ENDED = tables.ENDED
FINE_TUNING, EVALUATION, BATCH = tables.FINE_TUNING, tables.EVALUATION, tables.BATCH
# Workers run each group of kinds in a separate lane, so that long training jobs do not delay batches.
TRAINING_LANE, BATCH_LANE = (FINE_TUNING, EVALUATION), (BATCH,)

# Phases are more detailed than statuses. While a job runs, the trainer reports its phase (`app.wire.trainer.Phase`).
WAITING, VALIDATING, STOPPING, OVER = "waiting", "validating_files", "stopping", "ended"
TRAINING, PUBLISHING, ANSWERING = "training", "publishing", "answering"

METRICS = "metrics"  # the type of the events with the metrics of a step
CHECKPOINT = "checkpoint"  # the kind of the events that report stored checkpoints
ATTEMPT = "job.attempt"  # the kind of the events that report started attempts
ATTEMPT_LOST = "job.lost"  # the kind of the events that report attempts that ended with a fault or lost their worker


class Fenced(Exception):
    """The write is rejected, because a later attempt has claimed the job or the job is no longer running."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A snapshot of a row in the `jobs` table.

    `kind` is `FINE_TUNING`, `EVALUATION` or `BATCH`. `request` contains the validated fields of the request and, under
    "spec", the `TrainSpec`, `EvaluationSpec` or `BatchSpec` that all attempts use. `report` is the result of an
    evaluation, or the `BatchProgress` of a batch. Each claim increments `attempt`, so that writes by earlier attempts
    can be rejected. `losses` is the number of lost attempts. `seen_at` sets `lost` if the lease has expired; the job
    then waits for its next claim. Times are seconds since the epoch according to the database's clock.

    A trial is a job with a `parent_id`. `trials` contains the trials of an auto job, if they were read with the job.
    """

    id: str
    kind: str
    owner: str
    status: str
    phase: str
    priority: int
    attempt: int
    losses: int
    lease_owner: str | None
    lease_until: float | None
    cancel_requested: bool
    pause_requested: bool
    idempotency_key: str | None
    body_sha256: str
    request: dict[str, Any]
    model: str
    base_digest: str | None
    training_file: str
    validation_file: str | None
    seed: int
    publish_name: str
    publish_alias: str | None
    publish_expected_version: int | None
    settled: dict[str, Any]
    progress: float
    estimated_finish: float | None
    trained_tokens: int | None
    fine_tuned_model: str | None
    result_files: list[Any]
    error: dict[str, Any] | None
    meta: dict[str, Any] | None
    report: dict[str, Any] | None
    request_id: str | None
    parent_id: str | None
    trial: int | None
    result: dict[str, Any] | None
    created_at: float
    started_at: float | None
    finished_at: float | None
    lost: bool = False
    jobs_before: int | None = None  # number of jobs running or ahead of this one in the queue; None unless it is queued
    trials: tuple[Job, ...] = ()

    @classmethod
    def of(cls, row: JobRow) -> Self:
        """Convert a row to a record."""
        derived = ("lost", "jobs_before", "trials")
        return cls(**{f.name: getattr(row, f.name) for f in fields(cls) if f.name not in derived})

    def seen_at(self, now: float) -> Self:
        """Return the job as clients see it at time `now`, according to the database's clock."""
        lost = self.status == RUNNING and self.lease_until is not None and not leases.is_valid(self.lease_until, now)
        return replace(self, lost=lost)

    @property
    def automatic(self) -> bool:
        """Whether this is an auto job, which trains several networks as trials and publishes the best."""
        return self.model == AUTO and self.kind == FINE_TUNING

    @property
    def ended(self) -> bool:
        """Whether the job has succeeded, failed or been cancelled."""
        return self.status in ENDED

    @property
    def public_status(self) -> str:
        """The status in OpenAI's terms, which include a separate status for file validation.

        A job whose worker was lost is shown as queued, even before another worker has noticed the loss.
        """
        if self.lost:
            return QUEUED
        return VALIDATING if self.status == RUNNING and self.phase == VALIDATING else self.status

    @property
    def public_phase(self) -> str:
        """The phase shown to clients: "waiting" for a job whose worker was lost, unless the job is being stopped."""
        return WAITING if self.lost and self.phase != STOPPING else self.phase


@dataclass(frozen=True, slots=True)
class Flags:
    """Whether clients have asked to cancel or pause a running job."""

    cancel: bool
    pause: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvent:
    """An event to append to a job's log, unless the log already has an event with the same `kind` and `step`."""

    kind: str
    step: int
    message: str
    type: str = "message"  # message | metrics
    level: str = "info"  # info | warn | error
    data: Mapping[str, Any] = field(default_factory=dict)


def attempt_lost(attempt: int, message: str, reason: str) -> NewEvent:
    """Return the event that reports a lost attempt. Its data contains the attempt and the reason, for programs."""
    data = {"lost_attempt": attempt, "reason": reason}
    return NewEvent(kind=ATTEMPT_LOST, step=attempt, level="warn", message=message, data=data)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobProgress:
    """The progress of a running job. A field that is None leaves its column unchanged."""

    phase: str | None = None
    progress: float | None = None
    seconds_left: float | None = None
    trained_tokens: int | None = None
    settled: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEvent:
    """One event of a job's log."""

    id: str
    job_id: str
    kind: str
    step: int
    type: str
    level: str
    message: str
    data: dict[str, Any]
    created_at: float

    @classmethod
    def of(cls, row: JobEventRow) -> Self:
        """Convert a row to a record."""
        return cls(**{f.name: getattr(row, f.name) for f in fields(cls)})


@dataclass(frozen=True, slots=True, kw_only=True)
class JobCheckpoint:
    """A checkpoint of a job. The id of a checkpoint is a model reference, so the checkpoint can be loaded by its id."""

    id: str
    job_id: str
    owner: str
    step: int
    digest: str
    files: dict[str, Any]
    config: dict[str, Any]
    metrics: dict[str, Any]
    created_at: float

    @classmethod
    def of(cls, row: JobCheckpointRow) -> Self:
        """Convert a row to a record."""
        return cls(**{f.name: getattr(row, f.name) for f in fields(cls)})
