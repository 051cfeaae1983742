"""Rules for all services that store rows: who may see a row, and how to refer to blobs safely."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.errors import Unavailable

LOCAL = "local"  # the principal of all requests if no API keys are configured
BLOB_LOCK = 0x0571_B10B  # an arbitrary number that must never change


def visible(owner: str, principal: str) -> bool:
    """Whether `principal` may see a row owned by `owner`.

    If `principal` may not see a row, services respond as if the row did not exist.
    """
    return principal in (owner, LOCAL)


def hold_blobs(session: Session, *, alone: bool = False) -> None:
    """Hold the lock on all blob references until the transaction ends.

    Transactions that add references share the lock; garbage collection takes the lock exclusively (`alone`). On SQLite,
    no lock is needed, because writing transactions run one at a time.
    """
    if session.get_bind().dialect.name == "postgresql":
        kind = "" if alone else "_shared"
        session.execute(text(f"SELECT pg_advisory_xact_lock{kind}(:key)"), {"key": BLOB_LOCK})


def claim_blobs(session: Session, hashes: Iterable[str], exists: Callable[[str], bool]) -> None:
    """Protect blobs from garbage collection until the end of the caller's transaction.

    A transaction must call this function before it adds a row that refers to a blob. Raises Unavailable if a blob has
    already been deleted; the client must then upload it again.
    """
    hold_blobs(session)  # before the check, so that no blob is collected between the check and the commit
    if not all(exists(sha256) for sha256 in set(hashes)):
        raise Unavailable("the uploaded bytes were deleted before they were used; upload them again")
