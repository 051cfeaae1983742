"""Stores the probes of versions: inputs with which engines compare data types. No route returns probes."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.checkpoint.directory import FileEntry
from app.db.database import Database
from app.db.ownership import claim_blobs
from app.db.tables import ProbesRow
from app.db.upserts import insert_into
from app.errors import NotFound
from app.registry.records import Version
from app.registry.repository import has_version, lock_digest
from app.storage.blobs import BlobStore


class Probes:
    """The probes of versions, by digest and owner. One object per process; its methods are thread-safe."""

    def __init__(self, database: Database, blobs: BlobStore) -> None:
        self._database, self._blobs = database, blobs

    def add(self, session: Session, version: Version, entry: FileEntry) -> None:
        """Record a stored blob as the probes of a version, in the caller's transaction. Replaces earlier probes.

        Raises Unavailable if garbage collection has already deleted the blob, and NotFound if the version was deleted.
        """
        lock_digest(session, version.digest)
        if not has_version(session, version.digest, version.owner):
            raise NotFound(f"{version.ref} was deleted")
        claim_blobs(session, [entry.sha256], self._blobs.exists)
        values = {"sha256": entry.sha256, "bytes": entry.size, "created_at": self._database.now(session)}
        statement = insert_into(session, ProbesRow).values(digest=version.digest, owner=version.owner, **values)
        session.execute(statement.on_conflict_do_update(index_elements=("digest", "owner"), set_=values))

    def store(self, version: Version, data: bytes) -> None:
        """Store encoded probes for a version, in a separate transaction."""
        entry = FileEntry(self._blobs.put_bytes(data), len(data))
        with self._database.transaction() as session:
            self.add(session, version, entry)

    def load(self, digest: str, owner: str) -> bytes:
        """Return the encoded probes of an owner's versions with this digest; empty if there are none.

        Raises BlobMissing if the probes are recorded, but not stored.
        """
        query = select(ProbesRow.sha256).where(ProbesRow.digest == digest, ProbesRow.owner == owner)
        with self._database.read() as session:
            sha256 = session.scalar(query)
        return b"" if sha256 is None else b"".join(self._blobs.open(sha256))
