"""Who may see a row, and when bytes may be referred to: what every service that owns rows shares."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.errors import Unavailable

LOCAL = "local"  # who asks where no keys are configured
BLOB_LOCK = 0x0571_B10B  # any number, the same in every version of the product


def visible(owner: str, principal: str) -> bool:
    """Whether `principal` may know of what `owner` made. What it may not know of does not exist for it."""
    return principal in (owner, LOCAL)


def hold_blobs(session: Session, *, alone: bool = False) -> None:
    """Until the end of the transaction: writers of references side by side, or the garbage collection alone.

    On SQLite every writing transaction is alone already.
    """
    if session.get_bind().dialect.name == "postgresql":
        kind = "" if alone else "_shared"
        session.execute(text(f"SELECT pg_advisory_xact_lock{kind}(:key)"), {"key": BLOB_LOCK})


def claim_blobs(session: Session, hashes: Iterable[str], exists: Callable[[str], bool]) -> None:
    """Make sure that these bytes are kept and stay so until the caller's transaction refers to them.

    For every transaction that writes a row which names blobs. Raises Unavailable where the garbage collection was
    faster: uploading again helps.
    """
    hold_blobs(session)
    if not all(exists(sha256) for sha256 in set(hashes)):
        raise Unavailable("uploaded bytes were collected before they were used; upload them again")
