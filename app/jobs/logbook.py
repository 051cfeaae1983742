"""What is kept beside a job's row: its events and its checkpoints, never changed; and the lists that people read.

Knows SQL alone. Events are unique by (job, kind, step) and checkpoints by (job, step): what a later attempt repeats
is passed over. A checkpoint is kept when the training has become better, so the later ones are the better ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session, aliased

from app.db.paging import Page, cut, new_id
from app.db.tables import JobCheckpointRow, JobEventRow, JobRow, TableBase
from app.jobs.records import Job, JobCheckpoint, JobEvent, NewEvent


def append(session: Session, job_id: str, events: Sequence[NewEvent], now: float) -> None:
    """Add events to a job's log."""
    rows = [
        {
            "id": new_id("ftevent"),
            "job_id": job_id,
            "kind": event.kind,
            "step": event.step,
            "type": event.type,
            "level": event.level,
            "message": event.message,
            "data": dict(event.data),
            "created_at": now,
        }
        for event in events
    ]
    _insert(session, JobEventRow, rows, ("job_id", "kind", "step"))


def add_checkpoint(session: Session, checkpoint: JobCheckpoint) -> None:
    """Keep a checkpoint whose blobs are in the store already."""
    names = [column.name for column in JobCheckpointRow.__table__.columns]
    _insert(session, JobCheckpointRow, [{name: getattr(checkpoint, name) for name in names}], ("job_id", "step"))


def _insert(session: Session, table: type[TableBase], rows: list[dict[str, Any]], unique: tuple[str, ...]) -> None:
    if not rows:
        return
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    session.execute(insert(table).on_conflict_do_nothing(index_elements=unique), rows)


def checkpoint_steps(session: Session, job_id: str) -> set[int]:
    return set(session.scalars(select(JobCheckpointRow.step).where(JobCheckpointRow.job_id == job_id)))


def event_place(session: Session, job_id: str, id_: str) -> int | None:
    """Where an event stands in a job's log; None: it is not there."""
    return session.scalar(select(JobEventRow.seq).where(JobEventRow.id == id_, JobEventRow.job_id == job_id))


def events(session: Session, job_id: str, before: int | None, limit: int) -> Page[JobEvent]:
    """The newest first, of those before a place."""
    query = select(JobEventRow).where(JobEventRow.job_id == job_id)
    if before is not None:
        query = query.where(JobEventRow.seq < before)
    found = session.scalars(query.order_by(JobEventRow.seq.desc()).limit(limit + 1))
    return cut([JobEvent.of(row) for row in found], limit)


def checkpoint_step(session: Session, job_id: str, id_: str) -> int | None:
    """The step of a checkpoint of a job; None: it is not there."""
    mine = (JobCheckpointRow.id == id_, JobCheckpointRow.job_id == job_id)
    return session.scalar(select(JobCheckpointRow.step).where(*mine))


def checkpoints(session: Session, job_id: str, before: int | None, limit: int) -> Page[JobCheckpoint]:
    """The latest step first, of those before a step."""
    query = select(JobCheckpointRow).where(JobCheckpointRow.job_id == job_id)
    if before is not None:
        query = query.where(JobCheckpointRow.step < before)
    found = session.scalars(query.order_by(JobCheckpointRow.step.desc()).limit(limit + 1))
    return cut([JobCheckpoint.of(row) for row in found], limit)


def forget_checkpoints(session: Session, keep: int, before: float) -> int:
    """Forget those made `before`, but for the `keep` latest steps of each job; return their number."""
    later = aliased(JobCheckpointRow)
    better = select(func.count()).where(later.job_id == JobCheckpointRow.job_id, later.step > JobCheckpointRow.step)
    query = select(JobCheckpointRow).where(JobCheckpointRow.created_at <= before, better.scalar_subquery() >= keep)
    rows = session.scalars(query.with_for_update(of=JobCheckpointRow, skip_locked=True)).all()
    for row in rows:
        session.delete(row)
    return len(rows)


def jobs(
    session: Session,
    seen: ColumnElement[bool],
    after: str | None,
    limit: int,
    metadata: Mapping[str, str] | None,
    without_metadata: bool,
) -> Page[Job]:
    """The newest first, of those that `seen` lets through; `metadata` pairs must all be there."""
    query = select(JobRow).where(seen)
    if after:
        last = select(JobRow.created_at).where(JobRow.id == after).scalar_subquery()
        query = query.where(or_(JobRow.created_at < last, and_(JobRow.created_at == last, JobRow.id < after)))
    if without_metadata:
        query = query.where(JobRow.meta.is_(None))
    for key, value in (metadata or {}).items():
        query = query.where(_has_pair(session, key, value))
    found = session.scalars(query.order_by(JobRow.created_at.desc(), JobRow.id.desc()).limit(limit + 1))
    return cut([Job.of(row) for row in found], limit)


def _has_pair(session: Session, key: str, value: str) -> ColumnElement[bool]:
    """By rows of pairs and not by a path, in which some keys could not be written."""
    each = func.json_each_text if session.get_bind().dialect.name == "postgresql" else func.json_each
    pairs = each(JobRow.meta).table_valued("key", "value")
    return select(1).select_from(pairs).where(pairs.c.key == key, pairs.c.value == value).correlate(JobRow).exists()


def same_key(session: Session, owner: str, key: str) -> Job | None:
    row = session.scalar(select(JobRow).where(JobRow.owner == owner, JobRow.idempotency_key == key))
    return Job.of(row) if row else None


def same_body(session: Session, owner: str, body_sha256: str, since: float) -> Job | None:
    """The newest job that the same owner asked for in the same words, since then."""
    same = (JobRow.owner == owner, JobRow.body_sha256 == body_sha256, JobRow.created_at >= since)
    row = session.scalar(select(JobRow).where(*same).order_by(JobRow.created_at.desc()).limit(1))
    return Job.of(row) if row else None


def get(session: Session, job_id: str) -> Job | None:
    row = session.get(JobRow, job_id)
    return Job.of(row) if row else None


def with_status(session: Session, job_ids: Sequence[str], statuses: Sequence[str]) -> set[str]:
    """Which of these jobs have one of these statuses."""
    return set(session.scalars(select(JobRow.id).where(JobRow.id.in_(job_ids), JobRow.status.in_(statuses))))
