"""Checks the quotas of stored bytes and of jobs, which apply to all API processes and workers together.

Each check counts what the database contains, including the changes of the caller's transaction. Call the checks last in
a transaction, so that an error rolls the transaction's changes back. Transactions for the same key are checked one
after another.
"""

from __future__ import annotations

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from app.db import leases
from app.db.tables import FileRow, JobCheckpointRow, JobRow, VersionRow
from app.errors import Forbidden, Overloaded
from app.quotas import Quotas
from app.telemetry import rejected

QUOTA_LOCK = 0x0571_0A7A  # an arbitrary number that must never change
UNKNOWN_WAIT = 60.0  # seconds after which to try again if no job has an estimated end
LONGEST_WAIT = 3600.0
DELETED, QUEUED, RUNNING = "deleted", "queued", "running"


class StorageQuotaExceeded(Forbidden):
    """The key would store more bytes than its quota allows."""

    code = "storage_quota_exceeded"


class JobQuotaExceeded(Overloaded):
    """The key would have more queued jobs than its quota allows."""

    code = "job_quota_exceeded"


class PriorityNotAllowed(Forbidden):
    """The priority of a job is higher than the key's quota allows."""

    code = "priority_not_allowed"


def stored_bytes(session: Session, owner: str) -> int:
    """Return the total size of the owner's files, upload parts, versions and job checkpoints."""
    files = session.scalar(select(func.coalesce(func.sum(FileRow.bytes), 0)).where(FileRow.owner == owner))
    versions = select(VersionRow.files).where(VersionRow.owner == owner, VersionRow.status != DELETED)
    checkpoints = select(JobCheckpointRow.files).where(JobCheckpointRow.owner == owner)
    manifests = (*session.scalars(versions), *session.scalars(checkpoints))
    return int(files or 0) + sum(int(entry["size"]) for manifest in manifests for entry in manifest.values())


def room(session: Session, quotas: Quotas, owner: str) -> int | None:
    """Return how many bytes the owner may still store (negative above the quota), or None if there is no quota."""
    limit = quotas.of(owner).bytes
    return None if limit is None else limit - stored_bytes(session, owner)


def check_room(session: Session, quotas: Quotas, owner: str, size: int) -> None:
    """Raise StorageQuotaExceeded if `size` more bytes would exceed the quota. Call this before storing the bytes."""
    left = room(session, quotas, owner)
    if left is not None and size > left:
        raise storage_exceeded(quotas, owner)


def check_stored(session: Session, quotas: Quotas, owner: str, more: int = 0) -> None:
    """Raise StorageQuotaExceeded if the owner's stored bytes plus `more` exceed the quota."""
    limit = quotas.of(owner).bytes
    if limit is None:
        return
    _take_turn(session, owner)
    if stored_bytes(session, owner) + more > limit:
        raise storage_exceeded(quotas, owner)


def storage_exceeded(quotas: Quotas, owner: str) -> StorageQuotaExceeded:
    """Return the error for a key that would exceed its storage quota."""
    rejected.labels("quota_bytes").inc()
    return StorageQuotaExceeded(
        f"the quota of the API key {owner!r} is {quotas.of(owner).bytes} stored bytes, which this request would "
        "exceed; delete files or versions that are no longer needed, then try again"
    )


def check_priority(quotas: Quotas, owner: str, priority: int) -> None:
    """Raise PriorityNotAllowed if a job of the owner must not have this priority."""
    limit = quotas.of(owner).priority
    if limit is not None and priority > limit:
        rejected.labels("quota_priority").inc()
        message = f"the API key {owner!r} may use a priority of at most {limit}; send a lower priority"
        raise PriorityNotAllowed(message, param="priority")


def check_queued(session: Session, quotas: Quotas, owner: str, now: float) -> None:
    """Raise JobQuotaExceeded if the owner has more queued jobs than allowed. Trials of a job are not counted."""
    limit = quotas.of(owner).queued
    if limit is None:
        return
    _take_turn(session, owner)
    own = select(func.count()).select_from(JobRow).where(JobRow.owner == owner, JobRow.parent_id.is_(None))
    if (session.scalar(own.where(JobRow.status == QUEUED)) or 0) <= limit:
        return
    rejected.labels("quota_queued").inc()
    ends = select(func.min(JobRow.estimated_finish)).where(JobRow.owner == owner, JobRow.status == RUNNING)
    end = session.scalar(ends)
    wait = UNKNOWN_WAIT if end is None else min(LONGEST_WAIT, max(1.0, end - now))
    raise JobQuotaExceeded(
        f"the quota of the API key {owner!r} is {limit} queued jobs; cancel one of them, or try again when "
        f"one has started, in about {wait:.0f} s at the earliest",
        retry_after=wait,
        retryable=False,
    )


def busy_owners(session: Session, quotas: Quotas, now: float, *, alone: bool = False) -> list[str]:
    """Return the owners whose number of running jobs has reached their quota.

    The trials of an auto job are counted, but not the auto job, which has no lease. If `alone` is true, exclude other
    workers until the transaction ends, because each of them could start one more job.
    """
    limits = quotas.limited("running")
    if not limits:
        return []
    if alone:
        _take_turn(session, "")
    query = select(JobRow.owner, func.count()).where(JobRow.status == RUNNING, leases.valid(now))
    counts = session.execute(query.where(JobRow.owner.in_(limits)).group_by(JobRow.owner))
    return [owner for owner, count in counts if count >= limits[owner]]


def _take_turn(session: Session, owner: str) -> None:
    """Block other checks for this owner until the transaction ends. On SQLite, writers already run one at a time."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(
            text("SELECT pg_advisory_xact_lock(:key, hashtext(:owner))"), {"key": QUOTA_LOCK, "owner": owner}
        )
