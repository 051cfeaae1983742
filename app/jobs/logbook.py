"""SQL for the events and checkpoints of jobs. Rows are never updated after they have been inserted.

Events are unique by (job, kind, step), and checkpoints by (job, step). If a later attempt repeats an event or a
checkpoint, no row is added.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import CursorResult, Text, cast, delete, func, select
from sqlalchemy.orm import Session

from app.db.paging import Page, cut, new_id
from app.db.tables import JobCheckpointRow, JobEventRow, TableBase
from app.db.upserts import insert_into
from app.jobs.records import CHECKPOINT, METRICS, JobCheckpoint, JobEvent, NewEvent

CHUNK = 500  # maximum number of rows that one query loads by their positions


def append(session: Session, job_id: str, events: Sequence[NewEvent], now: float) -> None:
    """Append events to a job's log. Ignores events that are already in the log."""
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
    """Add a checkpoint, unless the job already has one for this step. The checkpoint's blobs must be in the store."""
    names = [column.name for column in JobCheckpointRow.__table__.columns]
    _insert(session, JobCheckpointRow, [{name: getattr(checkpoint, name) for name in names}], ("job_id", "step"))


def _insert(session: Session, table: type[TableBase], rows: list[dict[str, Any]], unique: tuple[str, ...]) -> None:
    if rows:
        session.execute(insert_into(session, table).on_conflict_do_nothing(index_elements=unique), rows)


def event_position(session: Session, job_id: str, id_: str) -> int | None:
    """Return the position of an event in a job's log, or None if the log has no such event."""
    return session.scalar(select(JobEventRow.seq).where(JobEventRow.id == id_, JobEventRow.job_id == job_id))


def events(session: Session, job_id: str, before: int | None, limit: int) -> Page[JobEvent]:
    """Load a job's events before the position `before` (all events if None), newest first."""
    query = select(JobEventRow).where(JobEventRow.job_id == job_id)
    if before is not None:
        query = query.where(JobEventRow.seq < before)
    rows = session.scalars(query.order_by(JobEventRow.seq.desc()).limit(limit + 1))
    return cut([JobEvent.of(row) for row in rows], limit)


def events_after(session: Session, job_id: str, position: int, limit: int) -> list[JobEvent]:
    """Load up to `limit` of a job's events after a position in its log (0: all events), oldest first."""
    query = select(JobEventRow).where(JobEventRow.job_id == job_id, JobEventRow.seq > position)
    return [JobEvent.of(row) for row in session.scalars(query.order_by(JobEventRow.seq).limit(limit))]


def thinned_events(session: Session, job_id: str, position: int, points: int) -> list[JobEvent]:
    """Load the events of a job after a position, oldest first, with only some of its metrics.

    The log is divided into `points` parts of equal length. Each part contributes its last metrics with a validation
    loss and its last metrics without one. All other events are loaded.
    """
    row = JobEventRow
    after = row.job_id == job_id, row.seq > position
    first, last = (session.scalar(select(bound(row.seq)).where(*after)) for bound in (func.min, func.max))
    if first is None or last is None:
        return []
    part = (row.seq - first) * points // (last - first + 1)
    validated = cast(row.data, Text).like('%"valid_loss"%')
    metrics = select(func.max(row.seq)).where(*after, row.type == METRICS).group_by(validated, part)
    others = select(row.seq).where(*after, row.type != METRICS)
    chosen = sorted([*session.scalars(metrics), *session.scalars(others)])
    events: list[JobEvent] = []
    for start in range(0, len(chosen), CHUNK):
        rows = select(row).where(row.seq.in_(chosen[start : start + CHUNK])).order_by(row.seq)
        events += [JobEvent.of(each) for each in session.scalars(rows)]
    return events


def newest_kind(session: Session, job_id: str) -> str | None:
    """Return the kind of a job's newest event, or None if its log is empty."""
    query = select(JobEventRow.kind).where(JobEventRow.job_id == job_id)
    return session.scalar(query.order_by(JobEventRow.seq.desc()).limit(1))


def stored_steps(session: Session, job_id: str) -> set[int]:
    """Return the steps of all checkpoints ever added to a job, including those that have been deleted."""
    rows = select(JobCheckpointRow.step).where(JobCheckpointRow.job_id == job_id)
    # A deleted checkpoint still has its event. If the attempt was killed before it wrote the event, only the
    # checkpoint's row exists.
    events = select(JobEventRow.step).where(JobEventRow.job_id == job_id, JobEventRow.kind == CHECKPOINT)
    return {*session.scalars(rows), *session.scalars(events)}


def checkpoint_step(session: Session, job_id: str, id_: str) -> int | None:
    """Return the step of a checkpoint, or None if the job has no such checkpoint."""
    query = select(JobCheckpointRow.step).where(JobCheckpointRow.id == id_, JobCheckpointRow.job_id == job_id)
    return session.scalar(query)


def checkpoints(session: Session, job_id: str, before: int | None, limit: int) -> Page[JobCheckpoint]:
    """Load a job's checkpoints before the step `before` (all checkpoints if None), latest step first."""
    query = select(JobCheckpointRow).where(JobCheckpointRow.job_id == job_id)
    if before is not None:
        query = query.where(JobCheckpointRow.step < before)
    rows = session.scalars(query.order_by(JobCheckpointRow.step.desc()).limit(limit + 1))
    return cut([JobCheckpoint.of(row) for row in rows], limit)


def forget_checkpoints(session: Session, keep: int, before: float) -> int:
    """Delete the checkpoints created at or before `before`, except for the `keep` latest steps of each job.

    The latest checkpoints are the best, because a checkpoint is saved only if the model has improved. Returns the
    number of deleted rows.
    """
    # Rank all checkpoints in one pass. A subquery that counts the later checkpoints for each row would take quadratic
    # time.
    place = func.row_number().over(partition_by=JobCheckpointRow.job_id, order_by=JobCheckpointRow.step.desc())
    ranked = select(JobCheckpointRow.id, place.label("place")).subquery()
    spare = select(ranked.c.id).where(ranked.c.place > keep)
    query = select(JobCheckpointRow.id).where(JobCheckpointRow.created_at <= before, JobCheckpointRow.id.in_(spare))
    # Another worker may be deleting the same rows: skip the rows that it has locked instead of waiting for it.
    unlocked = query.with_for_update(skip_locked=True)
    result = session.execute(
        delete(JobCheckpointRow).where(JobCheckpointRow.id.in_(unlocked)).execution_options(synchronize_session=False)
    )
    assert isinstance(result, CursorResult)
    return result.rowcount
