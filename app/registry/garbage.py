"""Which bytes are still needed, and which of those are not there. Knows every table that names a blob.

Bytes that no row has ever named may be on their way to one, so they are spared for an hour at least. What makes
collecting safe even then: a publisher puts its bytes first, which makes them young; then, in its transaction and
beside no collection, it checks that they are there. So either the collection spares them, or the publisher sees that
they are gone.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from app.db.database import Database
from app.db.ownership import hold_blobs
from app.db.tables import ENDED, AliasRow, FileRow, JobCheckpointRow, JobRow, VersionRow
from app.registry import repository
from app.storage.blobs import Blob, BlobCorrupt, BlobMissing, BlobStore

UPLOAD_SECONDS = 3600.0
LEFTOVER_SECONDS = 86_400.0  # no upload stands still for so long and goes on
BATCH = 200  # blobs deleted in one transaction: publishers wait no longer than that takes


@dataclass(frozen=True, slots=True)
class Collected:
    """What a collection removed, or would have removed."""

    dry_run: bool
    blobs: int
    bytes: int
    kept: int
    unfinished_uploads: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """`missing` and `corrupt`: SHA-256 -> who needs it. Orphans are no fault: the next collection takes them."""

    missing: dict[str, list[str]] = field(default_factory=dict)
    corrupt: dict[str, list[str]] = field(default_factory=dict)
    dangling_aliases: list[str] = field(default_factory=list)
    blobs: int = 0
    orphans: int = 0
    orphan_bytes: int = 0

    @property
    def ok(self) -> bool:
        return not (self.missing or self.corrupt or self.dangling_aliases)


def needed(session: Session, deleted_since: float | None) -> dict[str, list[tuple[str, int]]]:
    """SHA-256 -> the places that name it, each with the size that it should have.

    Versions deleted after `deleted_since` still count (None: none does), and what an unfinished job starts from.
    """
    found: dict[str, list[tuple[str, int]]] = {}
    for where, files in _manifests(session, deleted_since):
        for path, entry in repository.entries(files).items():
            found.setdefault(entry.sha256, []).append((f"{where} {path}", entry.size))
    for row in session.execute(select(FileRow.id, FileRow.sha256, FileRow.bytes)):
        found.setdefault(row.sha256, []).append((row.id, row.bytes))
    return found


class _Unwanted:
    """The blobs that may go: named by nothing that counts, and old enough."""

    def __init__(self, session: Session, now: float, grace_seconds: float) -> None:
        self._now, self._grace = now, grace_seconds
        self._needed = needed(session, now - grace_seconds)
        deleted = session.scalars(select(VersionRow.files).where(VersionRow.status == repository.DELETED))
        self._deleted = {entry.sha256 for files in deleted for entry in repository.entries(files).values()}

    def __contains__(self, blob: Blob) -> bool:
        patience = self._grace if blob.sha256 in self._deleted else max(self._grace, UPLOAD_SECONDS)
        return blob.sha256 not in self._needed and blob.modified <= self._now - patience


def collect(database: Database, blobs: BlobStore, grace_seconds: float, *, dry_run: bool) -> Collected:
    with database.read() as session:
        unwanted = _Unwanted(session, database.now(session), grace_seconds)
    total, old = 0, []
    for blob in blobs.list():
        total += 1
        if blob in unwanted:
            old.append(blob)
    gone = list(old) if dry_run else []
    for start in range(0, 0 if dry_run else len(old), BATCH):
        gone += _remove(database, blobs, old[start : start + BATCH], grace_seconds)
    swept = 0 if dry_run else blobs.sweep(LEFTOVER_SECONDS)
    return Collected(dry_run, len(gone), sum(blob.size for blob in gone), total - len(gone), swept)


def check(database: Database, blobs: BlobStore, *, deep: bool) -> Report:
    with database.read() as session:
        names = needed(session, None)
        dangling = _dangling(session)
    there = {blob.sha256: blob for blob in blobs.list()}
    missing = {sha: [where for where, _ in places] for sha, places in names.items() if sha not in there}
    corrupt = {
        sha: [where for where, _ in places]
        for sha, places in names.items()
        if sha in there and not _sound(blobs, there[sha], {size for _, size in places}, deep)
    }
    orphans = [blob for sha, blob in there.items() if sha not in names]
    return Report(missing, corrupt, dangling, len(there), len(orphans), sum(blob.size for blob in orphans))


def _manifests(session: Session, deleted_since: float | None) -> list[tuple[str, dict[str, dict[str, object]]]]:
    wanted = [VersionRow.status != repository.DELETED]
    if deleted_since is not None:
        wanted.append(VersionRow.deleted_at > deleted_since)
    versions = session.execute(select(VersionRow.model, VersionRow.version, VersionRow.files).where(or_(*wanted)))
    found = [(f"{model}:{number}", files) for model, number, files in versions]
    found += [(id_, files) for id_, files in session.execute(select(JobCheckpointRow.id, JobCheckpointRow.files))]
    open_ones = select(JobRow.id, JobRow.request).where(JobRow.status.not_in(ENDED), JobRow.base_digest.is_not(None))
    found += [(f"{id_} base", request["base"]["files"]) for id_, request in session.execute(open_ones)]
    return found


def _remove(database: Database, blobs: BlobStore, batch: list[Blob], grace_seconds: float) -> list[Blob]:
    """Look again, now that nobody can begin to refer to a blob, and delete what is still unwanted and old."""
    gone = []
    with database.transaction() as session:
        hold_blobs(session, alone=True)
        unwanted = _Unwanted(session, database.now(session), grace_seconds)
        for blob in batch:
            current = blobs.stat(blob.sha256)
            if current is not None and current in unwanted:
                blobs.delete(blob.sha256)
                gone.append(current)
    return gone


def _dangling(session: Session) -> list[str]:
    ready = select(VersionRow.id).where(
        VersionRow.model == AliasRow.model,
        VersionRow.version == AliasRow.version,
        VersionRow.status == repository.READY,
    )
    rows = session.execute(select(AliasRow.model, AliasRow.alias).where(~ready.exists()))
    return sorted(f"{model}@{alias}" for model, alias in rows)


def _sound(blobs: BlobStore, blob: Blob, sizes: set[int], deep: bool) -> bool:
    if sizes != {blob.size}:
        return False
    try:
        for _ in blobs.open(blob.sha256) if deep else ():
            pass
    except (BlobCorrupt, BlobMissing):
        return False
    return True
