"""Reads the state of the queue: the numbers of unfinished jobs, and the jobs that workers hold."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from sqlalchemy import Select, func, select, true
from sqlalchemy.orm import Session

from app.db import leases
from app.db.database import Database
from app.db.tables import JobRow
from app.jobs.records import FINE_TUNING, PAUSED, QUEUED, RUNNING
from app.registry.records import LOCAL

MOST_HELD = 100


@dataclass(frozen=True, slots=True)
class HeldJob:
    """A job or a trial that a worker holds. `since` is the start of the job, in seconds since the epoch."""

    id: str
    kind: str
    name: str
    worker: str
    progress: float
    since: float | None


@dataclass(frozen=True, slots=True)
class QueueSnapshot:
    """The unfinished jobs of a principal.

    `counts` maps a kind of job and one of the statuses queued, running and paused to the number of jobs. An auto job
    counts once, without its trials. `running_jobs` contains the jobs and trials that workers hold, oldest first, up
    to `MOST_HELD`.
    """

    counts: dict[tuple[str, str], int]
    running_jobs: list[HeldJob]


def read_queue(database: Database, principal: str) -> QueueSnapshot:
    """Return the unfinished jobs that the principal may see. A job whose worker was lost counts as queued."""
    owned = true() if principal == LOCAL else JobRow.owner == principal
    by_status = select(JobRow.kind, JobRow.status, func.count()).where(owned, JobRow.parent_id.is_(None))
    by_status = by_status.group_by(JobRow.kind, JobRow.status)
    with database.read() as session:
        now = database.now(session)
        counts = Counter(_read(session, by_status.where(JobRow.status.in_((QUEUED, RUNNING, PAUSED)))))
        lost_jobs = _read(session, by_status.where(JobRow.status == RUNNING, leases.ended(now)))
        for (kind, status), lost in lost_jobs.items():
            counts[kind, status] -= lost
            counts[kind, QUEUED] += lost
        query = select(JobRow).where(owned, JobRow.status == RUNNING, leases.valid(now))
        rows = session.scalars(query.order_by(JobRow.started_at, JobRow.id).limit(MOST_HELD))
        return QueueSnapshot(dict(counts), [_running_job(row) for row in rows])


def _read(session: Session, query: Select[str, str, int]) -> dict[tuple[str, str], int]:
    return {(kind, status): count for kind, status, count in session.execute(query)}


def _running_job(row: JobRow) -> HeldJob:
    name = row.publish_name if row.kind == FINE_TUNING else ""
    return HeldJob(row.id, row.kind, name, row.lease_owner or "", row.progress, row.started_at)
