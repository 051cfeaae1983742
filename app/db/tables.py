"""The database tables.

Times are seconds since the epoch, according to the database's clock. Every row that a client created has an `owner`.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, Double, ForeignKey, Index, Integer, MetaData, String, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

FINE_TUNING, EVALUATION, BATCH = "fine_tuning", "evaluation", "batch"  # the kinds of jobs
ENDED = ("succeeded", "failed", "cancelled")  # the final statuses of a job
NAMES = {  # every constraint gets a name, so that a migration can change it
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}


class TableBase(DeclarativeBase):
    """The base class of all tables."""

    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map = {  # noqa: RUF012
        dict[str, Any]: JSON,
        list[Any]: JSON,
        float: Double,
        int: BigInteger().with_variant(Integer, "sqlite"),  # SQLite generates ids only for the type INTEGER
    }


class FileRow(TableBase):
    """An uploaded file. The bytes of the file are stored as the blob `sha256`."""

    __tablename__ = "files"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)  # file-…
    owner: Mapped[str] = mapped_column(String(128), index=True)
    filename: Mapped[str] = mapped_column(String(255))
    purpose: Mapped[str] = mapped_column(String(40))
    bytes: Mapped[int]
    sha256: Mapped[str] = mapped_column(String(64), index=True)
    status: Mapped[str] = mapped_column(String(20))
    status_details: Mapped[str | None] = mapped_column(Text)
    format: Mapped[str | None] = mapped_column(String(20))
    created_at: Mapped[float]
    expires_at: Mapped[float | None]
    row_count: Mapped[int | None]
    column_names: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))
    column_roles: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))  # role -> column


class ModelRow(TableBase):
    """A model: a name for a sequence of versions."""

    __tablename__ = "models"
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    owner: Mapped[str] = mapped_column(String(128), index=True)
    next_version: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[float]


class VersionRow(TableBase):
    """An immutable version of a model. Only `status` and `deleted_at` change."""

    __tablename__ = "versions"
    __table_args__ = (UniqueConstraint("model", "version"),)
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    model: Mapped[str] = mapped_column(ForeignKey("models.name"), index=True)
    version: Mapped[int]
    owner: Mapped[str] = mapped_column(String(128), index=True)
    status: Mapped[str] = mapped_column(String(20))  # pending | ready | failed | deleted
    task: Mapped[str] = mapped_column(String(20))
    architecture: Mapped[str] = mapped_column(String(20))
    digest: Mapped[str] = mapped_column(String(64), index=True)
    files: Mapped[dict[str, Any]]  # path -> {sha256, size}
    config: Mapped[dict[str, Any]]  # config.json
    parameters: Mapped[int]
    metrics: Mapped[dict[str, Any]]
    job_id: Mapped[str | None] = mapped_column(String(40), index=True)
    created_at: Mapped[float]
    deleted_at: Mapped[float | None]


class ProbesRow(TableBase):
    """The probes of an owner's versions that have this digest, stored as the blob `sha256`. No route returns probes."""

    __tablename__ = "probes"
    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    owner: Mapped[str] = mapped_column(String(128), primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64))
    bytes: Mapped[int]
    created_at: Mapped[float]


class AliasRow(TableBase):
    """A name that points to a version of a model and can be moved."""

    __tablename__ = "aliases"
    model: Mapped[str] = mapped_column(ForeignKey("models.name"), primary_key=True)
    alias: Mapped[str] = mapped_column(String(64), primary_key=True)
    version: Mapped[int]
    required: Mapped[bool] = mapped_column(default=False)
    owner: Mapped[str] = mapped_column(String(128))
    updated_at: Mapped[float]
    abstain_below: Mapped[float | None]
    max_risk: Mapped[float | None]


class AliasMoveRow(TableBase):
    """A change of an alias. `to_version` is NULL if the alias was removed."""

    __tablename__ = "alias_moves"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    model: Mapped[str] = mapped_column(String(64), index=True)
    alias: Mapped[str] = mapped_column(String(64))
    from_version: Mapped[int | None]
    to_version: Mapped[int | None]
    principal: Mapped[str] = mapped_column(String(128))
    created_at: Mapped[float]
    abstain_below: Mapped[float | None]
    max_risk: Mapped[float | None]


class AuditRow(TableBase):
    """A change that a client has made. Rows are inserted, but never updated."""

    __tablename__ = "audit"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    principal: Mapped[str] = mapped_column(String(128))
    method: Mapped[str] = mapped_column(String(10))
    path: Mapped[str] = mapped_column(Text)
    subject: Mapped[str] = mapped_column(String(160))  # the id in the reply, such as mood:3; empty if it has none
    status: Mapped[int]
    request_id: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[float]


class JobRow(TableBase):
    """A training job, an evaluation or a batch.

    Only `app.jobs` changes rows; `app.jobs.claims` explains how `attempt` prevents late writes. A running job without a
    lease is an auto job that is waiting for its trials (`app.jobs.trials`).
    """

    __tablename__ = "jobs"
    __table_args__ = (
        UniqueConstraint("owner", "idempotency_key"),
        Index("ix_jobs_claim", "status", "lease_until", "priority"),
        Index("ix_jobs_trial", "parent_id", "trial", unique=True),
    )
    id: Mapped[str] = mapped_column(String(40), primary_key=True)  # ftjob-…, evaljob-… or batch-…
    kind: Mapped[str] = mapped_column(String(20), default=FINE_TUNING, server_default=FINE_TUNING)
    owner: Mapped[str] = mapped_column(String(128), index=True)
    status: Mapped[str] = mapped_column(String(20))  # queued | running | paused | succeeded | failed | cancelled
    phase: Mapped[str] = mapped_column(String(20))
    priority: Mapped[int] = mapped_column(default=0)
    attempt: Mapped[int] = mapped_column(default=0)  # incremented by each claim
    losses: Mapped[int] = mapped_column(default=0)  # attempts that ended with a fault: a lost worker or trainer
    lease_owner: Mapped[str | None] = mapped_column(String(128))
    lease_until: Mapped[float | None]
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    pause_requested: Mapped[bool] = mapped_column(default=False)
    idempotency_key: Mapped[str | None] = mapped_column(String(255))
    body_sha256: Mapped[str] = mapped_column(String(64))
    request: Mapped[dict[str, Any]]  # the checked request of the client
    model: Mapped[str] = mapped_column(String(128))  # an architecture or a reference, as requested; empty for a batch
    base_digest: Mapped[str | None] = mapped_column(String(64), index=True)  # the digest of the base version
    training_file: Mapped[str] = mapped_column(String(40), index=True)
    validation_file: Mapped[str | None] = mapped_column(String(40), index=True)
    seed: Mapped[int]
    publish_name: Mapped[str] = mapped_column(String(64))
    publish_alias: Mapped[str | None] = mapped_column(String(64))
    publish_expected_version: Mapped[int | None]
    settled: Mapped[dict[str, Any]] = mapped_column(default=dict)  # hyper-parameters that the trainer chose
    progress: Mapped[float] = mapped_column(default=0.0)
    estimated_finish: Mapped[float | None]
    trained_tokens: Mapped[int | None]
    fine_tuned_model: Mapped[str | None] = mapped_column(String(80))
    result_files: Mapped[list[Any]] = mapped_column(default=list)
    error: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))  # code, message, param
    meta: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))  # the client's `metadata`
    report: Mapped[dict[str, Any] | None] = mapped_column(
        JSON(none_as_null=True)
    )  # of an evaluation: its result; of a batch: its `BatchProgress`
    request_id: Mapped[str | None] = mapped_column(String(64))  # id of the HTTP request that created the job
    parent_id: Mapped[str | None] = mapped_column(String(40))  # the auto job of which this job is a trial
    trial: Mapped[int | None]  # the number of a trial, from 1
    result: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))  # `TrialResult`, or the choice
    created_at: Mapped[float]
    started_at: Mapped[float | None]
    finished_at: Mapped[float | None]


class JobEventRow(TableBase):
    """An event in a job's log. Unique by (job, kind, step), so repeated work does not add an event twice."""

    __tablename__ = "job_events"
    __table_args__ = (UniqueConstraint("job_id", "kind", "step"),)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(String(40), unique=True)  # ftevent-…
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), index=True)
    kind: Mapped[str] = mapped_column(String(40))
    step: Mapped[int]
    type: Mapped[str] = mapped_column(String(10))  # message | metrics
    level: Mapped[str] = mapped_column(String(10))
    message: Mapped[str] = mapped_column(Text)
    data: Mapped[dict[str, Any]]
    created_at: Mapped[float]


class JobCheckpointRow(TableBase):
    """A checkpoint of a job. The checkpoint can be loaded by its id."""

    __tablename__ = "job_checkpoints"
    __table_args__ = (UniqueConstraint("job_id", "step"),)
    id: Mapped[str] = mapped_column(String(40), primary_key=True)  # ftckpt-…
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), index=True)
    owner: Mapped[str] = mapped_column(String(128))
    step: Mapped[int]
    digest: Mapped[str] = mapped_column(String(64), index=True)
    files: Mapped[dict[str, Any]]
    config: Mapped[dict[str, Any]]
    metrics: Mapped[dict[str, Any]]
    created_at: Mapped[float]


class WebhookEndpointRow(TableBase):
    """A URL to which events are sent. `secret` signs the events.

    Until `old_secret_until`, `old_secret` also signs the events.
    """

    __tablename__ = "webhook_endpoints"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)  # whe-…
    owner: Mapped[str] = mapped_column(String(128), index=True)
    name: Mapped[str] = mapped_column(String(128))
    url: Mapped[str] = mapped_column(Text)
    event_types: Mapped[list[Any]]
    secret: Mapped[str] = mapped_column(String(64))
    old_secret: Mapped[str | None] = mapped_column(String(64))
    old_secret_until: Mapped[float | None]
    created_at: Mapped[float]
    updated_at: Mapped[float]


class WebhookDeliveryRow(TableBase):
    """An event for an endpoint, added in the same transaction as the change that it reports.

    Only `app.webhooks` changes rows; `app.webhooks.deliveries` explains `attempt` and `due_at`.
    """

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        UniqueConstraint("endpoint_id", "type", "subject"),
        Index("ix_webhook_deliveries_due", "status", "due_at"),
    )
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    endpoint_id: Mapped[str] = mapped_column(ForeignKey("webhook_endpoints.id", ondelete="CASCADE"))
    event_id: Mapped[str] = mapped_column(String(40))  # evt-…, the same for all endpoints
    type: Mapped[str] = mapped_column(String(40))
    subject: Mapped[str] = mapped_column(String(40))  # the id of the job or batch
    status: Mapped[str] = mapped_column(String(20))  # waiting | delivered | failed
    attempt: Mapped[int] = mapped_column(default=0)  # incremented by each claim
    due_at: Mapped[float]
    error: Mapped[str | None] = mapped_column(Text)  # the reason for the latest failure
    created_at: Mapped[float]
    ended_at: Mapped[float | None]
    failed_at: Mapped[float | None]  # the time of the latest failure; None in rows that are older than this column
