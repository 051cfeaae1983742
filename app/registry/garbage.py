"""Garbage collection of blobs, and the check that every referenced blob is stored and undamaged.

An unreferenced blob may belong to a publication that has stored its files but has not yet inserted its row. Two rules
protect such a blob:

- A collection keeps unreferenced blobs that were stored within the last hour. Storing a blob again restarts this
  period.
- A publisher's transaction checks that its blobs exist (`claim_blobs`). A collection deletes blobs in a transaction
  that cannot run at the same time as publishers' transactions (`hold_blobs`).

Therefore, either the collection keeps the publisher's blobs, or the publisher fails because its blobs no longer exist.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Select, or_, select
from sqlalchemy.orm import Session, aliased

from app.db.database import Database
from app.db.ownership import hold_blobs
from app.db.tables import ENDED, AliasRow, FileRow, JobCheckpointRow, JobRow, ProbesRow, VersionRow
from app.registry import repair, repository
from app.storage.blobs import Blob, BlobStore
from app.storage.errors import BlobCorrupt, BlobMissing

UPLOAD_SECONDS = 3600.0  # an unreferenced blob stored within this time may belong to a publication in progress
LEFTOVER_SECONDS = 86_400.0  # a partial upload older than this was left by a killed program
BATCH = 200  # number of blobs deleted in one transaction, during which publishers wait


@dataclass(frozen=True, slots=True)
class Collected:
    """The result of a collection: the blobs removed (in a dry run: found), their total size, and the blobs kept."""

    dry_run: bool
    blobs: int
    bytes: int
    kept: int
    unfinished_uploads: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a check.

    `missing` and `corrupt` map the SHA-256 of a blob to the names of the objects that use it. `damaged` lists the
    columns whose values cannot be encoded in a reply, and `mended` lists the columns that the check has repaired.

    Orphans are unreferenced blobs. Orphans are not errors; a collection removes them when they are old enough.
    """

    missing: dict[str, list[str]] = field(default_factory=dict)
    corrupt: dict[str, list[str]] = field(default_factory=dict)
    dangling_aliases: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    mended: list[str] = field(default_factory=list)
    blobs: int = 0
    orphans: int = 0
    orphan_bytes: int = 0

    @property
    def ok(self) -> bool:
        """Whether the check found no errors."""
        return not (self.missing or self.corrupt or self.dangling_aliases or self.damaged)


def collect(database: Database, blobs: BlobStore, grace_seconds: float, *, dry_run: bool) -> Collected:
    """Delete the unreferenced blobs that are old enough. With `dry_run`, blobs are only counted."""
    with database.read() as session:
        garbage = _Garbage(session, database.now(session), grace_seconds)
    total, candidates = 0, []
    for blob in blobs.list():
        total += 1
        if blob in garbage:
            candidates.append(blob)
    removed = list(candidates) if dry_run else []
    for start in range(0, 0 if dry_run else len(candidates), BATCH):
        removed += _remove(database, blobs, candidates[start : start + BATCH], grace_seconds)
    swept = 0 if dry_run else blobs.sweep(LEFTOVER_SECONDS)
    return Collected(dry_run, len(removed), sum(blob.size for blob in removed), total - len(removed), swept)


def check(database: Database, blobs: BlobStore, *, deep: bool, mend: bool = False) -> Report:
    """Check that every referenced blob is stored and has the right size. If `deep` is true, also check the hashes.

    If `mend` is true, first repair the rows whose values cannot be encoded in a reply.
    """
    mended: list[str] = []
    if mend:
        with database.transaction() as session:
            mended = repair.mend(session)
    with database.read() as session:
        damaged = repair.find(session)
        references = load_references(session, None)
        dangling = _find_dangling(session)
    stored = {blob.sha256: blob for blob in blobs.list()}
    missing = {sha: [name for name, _ in users] for sha, users in references.items() if sha not in stored}
    corrupt = {
        sha: [name for name, _ in users]
        for sha, users in references.items()
        if sha in stored and not _is_sound(blobs, stored[sha], {size for _, size in users}, deep)
    }
    orphans = [blob for sha, blob in stored.items() if sha not in references]
    orphan_bytes = sum(blob.size for blob in orphans)
    return Report(missing, corrupt, dangling, damaged, mended, len(stored), len(orphans), orphan_bytes)


def load_references(session: Session, deleted_since: float | None) -> dict[str, list[tuple[str, int]]]:
    """Map the SHA-256 of each referenced blob to its references: pairs of a name and the size that the blob must have.

    Includes the blobs of versions deleted after `deleted_since` (if None, deleted versions are ignored), and the blobs
    that unfinished jobs need: their base models and their trials.
    """
    references: dict[str, list[tuple[str, int]]] = {}
    for name, files in _load_manifests(session, deleted_since):
        for path, entry in repository.parse_manifest(files).items():
            references.setdefault(entry.sha256, []).append((f"{name} {path}", entry.size))
    for name, blobs in _load_trials(session):
        for blob in blobs:
            references.setdefault(blob["sha256"], []).append((name, blob["size"]))
    for row in session.execute(select(FileRow.id, FileRow.sha256, FileRow.bytes)):
        references.setdefault(row.sha256, []).append((row.id, row.bytes))
    for row in session.execute(_select_probes(deleted_since)):
        references.setdefault(row.sha256, []).append((f"probes of {row.digest[:12]}…", row.bytes))
    return references


class _Garbage:
    """The blobs that may be deleted because they are unreferenced and old enough."""

    def __init__(self, session: Session, now: float, grace_seconds: float) -> None:
        self._now, self._grace = now, grace_seconds
        self._referenced = set(load_references(session, now - grace_seconds))
        # A blob of a deleted version is not a new upload, so it need not be kept for another hour after the grace time.
        # Versions deleted more than an hour ago are not read: their blobs are older than an hour anyway, unless they
        # were stored again and may therefore belong to a new upload.
        deleted = select(VersionRow.files).where(
            VersionRow.status == repository.DELETED, VersionRow.deleted_at > now - UPLOAD_SECONDS
        )
        manifests = [repository.parse_manifest(files) for files in session.scalars(deleted)]
        self._deleted = {entry.sha256 for files in manifests for entry in files.values()}

    def __contains__(self, blob: Blob) -> bool:
        age = self._grace if blob.sha256 in self._deleted else max(self._grace, UPLOAD_SECONDS)
        return blob.sha256 not in self._referenced and blob.modified <= self._now - age


def _exist(deleted_since: float | None) -> ColumnElement[bool]:
    """The condition that a version is not deleted, or was deleted after `deleted_since`."""
    exist = VersionRow.status != repository.DELETED
    return exist if deleted_since is None else or_(exist, VersionRow.deleted_at > deleted_since)


def _select_probes(deleted_since: float | None) -> Select[str, str, int]:
    """Select the probes of versions that satisfy `_exist`."""
    version = select(VersionRow.id).where(
        VersionRow.digest == ProbesRow.digest, VersionRow.owner == ProbesRow.owner, _exist(deleted_since)
    )
    return select(ProbesRow.digest, ProbesRow.sha256, ProbesRow.bytes).where(version.exists())


def _load_manifests(session: Session, deleted_since: float | None) -> list[tuple[str, dict[str, Any]]]:
    """Load the names and manifests of all job checkpoints, existing versions, and versions used by unfinished jobs."""
    versions = session.execute(
        select(VersionRow.model, VersionRow.version, VersionRow.files).where(_exist(deleted_since))
    )
    manifests = [(f"{model}:{number}", files) for model, number, files in versions]
    manifests += [(id_, files) for id_, files in session.execute(select(JobCheckpointRow.id, JobCheckpointRow.files))]
    unfinished = select(JobRow.id, JobRow.request).where(JobRow.status.not_in(ENDED), JobRow.base_digest.is_not(None))
    for id_, request in session.execute(unfinished):
        used = {name: request[name]["files"] for name in ("base", "other") if request.get(name)}
        manifests += [(f"{id_} {name}", files) for name, files in used.items()]
    return manifests


def _load_trials(session: Session) -> list[tuple[str, list[dict[str, Any]]]]:
    """Load the id and blobs of each successful trial of an unfinished job. The job will publish one of these trials."""
    parent = aliased(JobRow)
    query = select(JobRow.id, JobRow.result).join(parent, parent.id == JobRow.parent_id)
    rows = session.execute(query.where(JobRow.result.is_not(None), parent.status.not_in(ENDED)))
    return [(id_, [*result["files"].values(), *result["blobs"].values()]) for id_, result in rows if result]


def _remove(database: Database, blobs: BlobStore, batch: list[Blob], grace_seconds: float) -> list[Blob]:
    """Delete those blobs of a batch that are still garbage.

    Reads rows and blobs again, because in the meantime a publication may have stored one of these blobs again, or
    inserted a row that refers to it. While the lock is held, no publication can add a reference.
    """
    removed = []
    with database.transaction() as session:
        hold_blobs(session, alone=True)
        garbage = _Garbage(session, database.now(session), grace_seconds)
        for blob in batch:
            current = blobs.stat(blob.sha256)
            if current is not None and current in garbage:
                blobs.delete(blob.sha256)
                removed.append(current)
    return removed


def _find_dangling(session: Session) -> list[str]:
    """Find aliases that do not point to a ready version."""
    ready = select(VersionRow.id).where(
        VersionRow.model == AliasRow.model,
        VersionRow.version == AliasRow.version,
        VersionRow.status == repository.READY,
    )
    rows = session.execute(select(AliasRow.model, AliasRow.alias).where(~ready.exists()))
    return sorted(f"{model}@{alias}" for model, alias in rows)


def _is_sound(blobs: BlobStore, blob: Blob, sizes: set[int], deep: bool) -> bool:
    """Whether a blob has the size that all its references state and, if `deep` is true, the right hash."""
    if sizes != {blob.size}:
        return False
    try:
        for _ in blobs.open(blob.sha256) if deep else ():
            pass
    except (BlobCorrupt, BlobMissing):
        return False
    return True
