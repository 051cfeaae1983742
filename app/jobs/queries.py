"""Queries for jobs by id, key, body or status, for pages of jobs, and for the number of jobs ahead in the queue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import Session

from app.db.paging import Page, cut
from app.db.tables import JobRow
from app.jobs.queue_order import queue_time, queue_time_of
from app.jobs.records import BATCH, QUEUED, RUNNING, Job


def get(session: Session, job_id: str) -> Job | None:
    """Load the job with this id, if any."""
    row = session.get(JobRow, job_id)
    return Job.of(row) if row else None


def get_by_key(session: Session, owner: str, key: str) -> Job | None:
    """Load the job that the owner created with this idempotency key, if any."""
    row = session.scalar(select(JobRow).where(JobRow.owner == owner, JobRow.idempotency_key == key))
    return Job.of(row) if row else None


def newest_with_body(session: Session, owner: str, body_sha256: str, since: float) -> Job | None:
    """Load the newest job, if any, that the owner created with an identical request at `since` or later."""
    equal = (JobRow.owner == owner, JobRow.body_sha256 == body_sha256, JobRow.created_at >= since)
    row = session.scalar(select(JobRow).where(*equal).order_by(JobRow.created_at.desc()).limit(1))
    return Job.of(row) if row else None


def page(
    session: Session,
    owned: ColumnElement[bool],
    after: str | None,
    limit: int,
    metadata: Mapping[str, str] | None,
    without_metadata: bool,
    trials: bool,
) -> Page[Job]:
    """Load the jobs that satisfy `owned` and have all `metadata` pairs, newest first, starting after the job `after`.

    Trials are left out unless `trials` is set.
    """
    query = select(JobRow).where(owned)
    if not trials:
        query = query.where(JobRow.parent_id.is_(None))
    if after:
        last = select(JobRow.created_at).where(JobRow.id == after).scalar_subquery()
        query = query.where(or_(JobRow.created_at < last, and_(JobRow.created_at == last, JobRow.id < after)))
    if without_metadata:
        query = query.where(JobRow.meta.is_(None))
    for key, value in (metadata or {}).items():
        query = query.where(_has_pair(session, key, value))
    rows = session.scalars(query.order_by(JobRow.created_at.desc(), JobRow.id.desc()).limit(limit + 1))
    return cut([Job.of(row) for row in rows], limit)


def with_status(session: Session, job_ids: Sequence[str], statuses: Sequence[str], kinds: Sequence[str]) -> set[str]:
    """Return the subset of `job_ids` whose jobs are of these kinds and have one of these statuses."""
    wanted = JobRow.id.in_(job_ids), JobRow.status.in_(statuses), JobRow.kind.in_(kinds)
    return set(session.scalars(select(JobRow.id).where(*wanted)))


def count_before(session: Session, job: Job) -> int:
    """Count the jobs of all owners that are running or will be claimed before this one (see `JobClaims.claim`).

    An auto job counts once, without its trials. Batches do not count, because they run in a separate lane.
    """
    own = queue_time_of(job)
    earlier = or_(queue_time() < own, and_(queue_time() == own, JobRow.id < job.id))
    first = or_(JobRow.priority > job.priority, and_(JobRow.priority == job.priority, earlier))
    before = or_(JobRow.status == RUNNING, and_(JobRow.status == QUEUED, first))
    return session.scalar(select(func.count()).where(before, _in_queue(), JobRow.id != job.id)) or 0


def counts_before(session: Session, jobs: Sequence[Job]) -> dict[str, int]:
    """Return `count_before` for each of several jobs, by job id.

    Ranks the queue only once, regardless of the number of jobs. The count of a trial includes its parent, which is a
    running job.
    """
    if not jobs:
        return {}
    order = (JobRow.priority.desc(), queue_time(), JobRow.id)
    place = (func.row_number().over(order_by=order) - 1).label("place")
    ranked = select(JobRow.id, place).where(JobRow.status == QUEUED, _in_queue()).subquery()
    running = session.scalar(select(func.count()).where(JobRow.status == RUNNING, _in_queue())) or 0
    rows = session.execute(select(ranked.c.id, ranked.c.place).where(ranked.c.id.in_([job.id for job in jobs])))
    counts = {id_: running + place for id_, place in rows}
    # A job whose worker was lost is shown to clients as queued, but stored as running.
    return {job.id: counts[job.id] if job.id in counts else count_before(session, job) for job in jobs}


def _in_queue() -> ColumnElement[bool]:
    return and_(JobRow.parent_id.is_(None), JobRow.kind != BATCH)


def _has_pair(session: Session, key: str, value: str) -> ColumnElement[bool]:
    # Expand the JSON object to one row per pair, and compare the keys as values: a JSON path cannot express every key.
    each = func.json_each_text if session.get_bind().dialect.name == "postgresql" else func.json_each
    pairs = each(JobRow.meta).table_valued("key", "value")
    return select(1).select_from(pairs).where(pairs.c.key == key, pairs.c.value == value).correlate(JobRow).exists()
