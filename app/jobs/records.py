"""What a job is: plain data, and the words for where it stands. Knows no SQL, no files and no processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

from app.db.tables import JobCheckpointRow, JobEventRow, JobRow

QUEUED, RUNNING, PAUSED = "queued", "running", "paused"
SUCCEEDED, FAILED, CANCELLED = "succeeded", "failed", "cancelled"
ENDED = (SUCCEEDED, FAILED, CANCELLED)

# Phases, finer than the status. Those of a running job are the trainer's own words (`protocol.Phase`).
WAITING, VALIDATING, STOPPING, OVER = "waiting", "validating_files", "stopping", "ended"


class Fenced(Exception):
    """The attempt that wanted to write is no longer the job's: another has it, or it has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One row of `jobs`, as it was when it was read. Times are seconds since the epoch by the database's clock.

    `request` is what the client asked for, checked: the fields of `request.JobRequest`, and under "spec" the
    `protocol.TrainSpec` that every attempt is given. `attempt` is the fence: it rises with each claim. `lost`: its
    lease had run out when it was read (by `seen_at`), so it waits for whoever claims it next.
    """

    id: str
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
    request_id: str | None
    created_at: float
    started_at: float | None
    finished_at: float | None
    lost: bool = False

    @classmethod
    def of(cls, row: JobRow) -> Self:
        return cls(**{f.name: getattr(row, f.name) for f in fields(cls) if f.name != "lost"})

    def seen_at(self, now: float) -> Self:
        """The job as people see it at this time of the database's clock."""
        return replace(self, lost=self.status == RUNNING and (self.lease_until or 0.0) < now)

    @property
    def ended(self) -> bool:
        return self.status in ENDED

    @property
    def public_status(self) -> str:
        """The status in the words of OpenAI's clients, who know the file check as a status of its own.

        A job whose worker was lost is queued again, also before another worker has noticed.
        """
        if self.lost:
            return QUEUED
        return VALIDATING if self.status == RUNNING and self.phase == VALIDATING else self.status

    @property
    def public_phase(self) -> str:
        return WAITING if self.lost and self.phase != STOPPING else self.phase


@dataclass(frozen=True, slots=True)
class Flags:
    """What people have asked of a running job since it was claimed."""

    cancel: bool
    pause: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvent:
    """A line for the job's log; a second one with the same (`kind`, `step`) is dropped."""

    kind: str
    step: int
    message: str
    type: str = "message"  # message | metrics
    level: str = "info"  # info | warn | error
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobProgress:
    """How far a running job is; None leaves a figure as it is."""

    phase: str | None = None
    progress: float | None = None
    seconds_left: float | None = None
    trained_tokens: int | None = None
    settled: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEvent:
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
        return cls(**{f.name: getattr(row, f.name) for f in fields(cls)})


@dataclass(frozen=True, slots=True, kw_only=True)
class JobCheckpoint:
    """A loadable checkpoint of a job; its id is a model reference."""

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
        return cls(**{f.name: getattr(row, f.name) for f in fields(cls)})
