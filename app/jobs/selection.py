"""The SQL that selects the next job to claim. The trials of auto jobs are jobs too."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import ColumnElement, and_, case, func, or_, select
from sqlalchemy.orm import Session

from app.db import leases
from app.db.tables import JobRow
from app.jobs import trials
from app.jobs.queue_order import queue_time
from app.jobs.records import BATCH, QUEUED, RUNNING


def expired(now: float) -> ColumnElement[bool]:
    """The condition that a job is running and its lease has expired."""
    return and_(JobRow.status == RUNNING, leases.ended(now))


def claimable(now: float, busy: Collection[str]) -> ColumnElement[bool]:
    """The condition that a job may be claimed. `busy` contains the owners that may not start another job."""
    due = or_(JobRow.lease_until.is_(None), leases.ended(now))
    allowed = or_(and_(JobRow.status == QUEUED, due), expired(now), trials.complete())
    return and_(allowed, JobRow.owner.not_in(busy)) if busy else allowed


def lock_next(session: Session, now: float, kinds: Collection[str], busy: Collection[str]) -> Any:
    """Lock the next job to claim, if any. Return its id, its status, its lease, and whether it has trials.

    Among jobs of the same priority, the one with the earliest `queue_time` is next. If only batches are selected,
    owners take turns instead, so that many batches of one owner do not delay those of others. The next batch is then
    the oldest batch of the owner whose latest batch started first. Owners without a started batch come before all
    others. Batches that have started are continued first.
    """
    began = (
        select(JobRow.owner, func.max(JobRow.started_at).label("latest"))
        .where(JobRow.kind == BATCH)
        .group_by(JobRow.owner)
        .subquery()
    )
    order = case((JobRow.started_at.is_not(None), 0.0), else_=func.coalesce(began.c.latest, 0.0))
    turn = [order] if set(kinds) == {BATCH} else []
    # The row stays locked until this transaction ends. With SKIP LOCKED, workers on PostgreSQL do not wait for a
    # row that another worker is claiming. On SQLite, writing transactions run one at a time.
    locked = session.scalar(
        (select(JobRow.id).outerjoin(began, began.c.owner == JobRow.owner) if turn else select(JobRow.id))
        .where(JobRow.kind.in_(kinds), claimable(now, busy))
        .order_by(JobRow.priority.desc(), *turn, queue_time(), func.coalesce(JobRow.trial, 0), JobRow.id)
        .limit(1)
        .with_for_update(skip_locked=True, of=JobRow)
    )
    # Read the job again. If another transaction changed its row during that query, PostgreSQL checked the new row, but
    # without the trials that the same transaction inserted: they all seemed to have ended.
    columns = (JobRow.id, JobRow.status, JobRow.lease_until, trials.exist().label("has_trials"))
    return session.execute(select(*columns).where(JobRow.id == locked, claimable(now, busy))).one_or_none()
