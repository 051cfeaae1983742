"""SQL conditions: the lease of a job is valid, or has ended.

A lease that ends in the distant future was written before the clock of the database was set back. Such a lease counts
as ended: otherwise, the job of a lost worker would wait until the clock reaches the old time again. A worker that is
still running renews its lease within seconds.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, or_

from app.db.tables import JobRow

LONGEST_SECONDS = 600.0  # the longest lease, and the longest delay before a queued job can be claimed


def is_valid(lease_until: float, now: float) -> bool:
    """Whether a lease is valid at time `now`, according to the database's clock."""
    return now <= lease_until <= now + LONGEST_SECONDS


def valid(now: float) -> ColumnElement[bool]:
    """The condition that a job has a valid lease."""
    return JobRow.lease_until.between(now, now + LONGEST_SECONDS)


def ended(now: float) -> ColumnElement[bool]:
    """The condition that a job has a lease that is not valid."""
    return or_(JobRow.lease_until < now, JobRow.lease_until > now + LONGEST_SECONDS)
