"""Stores uploaded data sets and result files, each as a blob and a row in the database.

The content of a file is checked later, by the trainer of the job that uses the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path

from sqlalchemy.orm import Session

from app.db import usage
from app.db.database import Database
from app.db.ownership import LOCAL, claim_blobs, visible
from app.db.paging import Page, check_page, cut, new_id
from app.db.tables import FileRow
from app.errors import InvalidRequest, NotFound, TooLarge
from app.files import repository
from app.files.outline import Outline
from app.files.records import StoredFile, clean_name, format_of
from app.files.usable import refuse_other_kinds
from app.quotas import NO_QUOTAS, Quotas
from app.storage.blobs import BlobStore
from app.storage.scratch import Scratch
from app.wording import listed

ID = re.compile(r"file-[0-9a-f]{24}")
PURPOSE = re.compile(r"[a-z][a-z0-9_-]{0,39}")
PURPOSES = ("fine-tune", "batch", "user_data", "evals", "assistants", "vision")  # accepted by OpenAI for uploads
PAGE_LIMIT = 10_000
LEAST_EXPIRY, MOST_EXPIRY = 3600, 2_592_000


class Files:
    """Manages the files of all principals. There is one instance per process. All methods are thread-safe.

    If a file has expired or belongs to another owner, the methods raise NotFound (`file_not_found`), as if the file did
    not exist.
    """

    def __init__(self, database: Database, blobs: BlobStore, quotas: Quotas = NO_QUOTAS) -> None:
        self.database, self.blobs, self.quotas = database, blobs, quotas

    def create(
        self,
        owner: str,
        filename: str,
        purpose: str,
        stream: Iterable[bytes],
        *,
        scratch: Scratch | None = None,
        limit: int | None = None,
        expires_after: int | None = None,
        format: str | None = None,
        roles: Mapping[str, str] | None = None,
    ) -> StoredFile:
        """Store an upload of at most `limit` bytes as a file that expires after `expires_after` seconds.

        If `format` is None, the format is determined from the file name's extension. The rows of a table are counted,
        and its column names are read, during the upload. If the stream reads a `scratch` file, that file is stored
        without being copied. Raises InvalidRequest if the purpose or the lifetime is not valid, or if the stream is
        empty or in a format without text or a table, TooLarge if it exceeds `limit`, and StorageQuotaExceeded if the
        owner's quota has no room for the file.
        """
        check_purpose(purpose)
        if expires_after is not None:
            check_expiry(expires_after, "expires_after")
        format = format or format_of(clean_name(filename))
        outline = Outline(format)
        stream = refuse_other_kinds(stream, clean_name(filename), purpose, "file")
        sha256, size = self.store(owner, outline.pass_through(stream), limit, scratch)
        if not size:
            raise InvalidRequest(f"{clean_name(filename)} is empty: it has 0 bytes", code="empty_file", param="file")
        with self.database.transaction() as session:
            file = self.record(
                session, owner, filename, purpose, sha256, size, expires_after=expires_after, format=format,
                outline=outline, roles=roles,
            )  # fmt: skip
            usage.check_stored(session, self.quotas, owner)
            return file

    def store(
        self, owner: str, stream: Iterable[bytes], limit: int | None, scratch: Scratch | None = None
    ) -> tuple[str, int]:
        """Store a blob of at most `limit` bytes, as `BlobStore.put_stream` does.

        Raises StorageQuotaExceeded, without storing anything, if the owner's quota has no room for the blob.
        """
        with self.database.read() as session:
            room = usage.room(session, self.quotas, owner)
        if room is None or (limit is not None and limit <= room):
            return self.blobs.put_stream(stream, limit, scratch)
        try:
            return self.blobs.put_stream(stream, max(0, room), scratch)
        except TooLarge:
            raise usage.storage_exceeded(self.quotas, owner) from None

    def record(
        self,
        session: Session,
        owner: str,
        filename: str,
        purpose: str,
        sha256: str,
        size: int,
        *,
        expires_after: int | None = None,
        format: str | None = None,
        outline: Outline | None = None,
        roles: Mapping[str, str] | None = None,
    ) -> StoredFile:
        """Add a row for a file whose blob is already in the store, in the caller's transaction.

        Raises Unavailable if garbage collection has removed the blob.
        """
        claim_blobs(session, [sha256], self.blobs.exists)
        now, name = self.database.now(session), clean_name(filename)
        row = FileRow(
            id=new_id("file"),
            owner=owner,
            filename=name,
            purpose=purpose,
            bytes=size,
            sha256=sha256,
            status="processed",
            status_details=None,
            format=format or format_of(name),
            created_at=now,
            expires_at=None if expires_after is None else now + expires_after,
            row_count=outline.rows if outline else None,
            column_names=outline.columns if outline else None,
            column_roles=dict(roles) if roles else None,
        )
        session.add(row)
        session.flush()
        return repository.record(row)

    def get(self, id_: str, principal: str, session: Session | None = None) -> StoredFile:
        """Return the file with this id. Raises NotFound (`file_not_found`)."""
        with self._reading(session) as session_:
            return repository.record(self._row(session_, id_, principal))

    def hold(self, session: Session, id_: str, principal: str) -> StoredFile:
        """Return the file, as `get` does, and prevent its deletion until the transaction ends.

        Call this in a transaction that adds a row referring to the file.
        """
        return repository.record(self._row(session, id_, principal, share=True))

    def list(
        self,
        principal: str,
        *,
        purpose: str | None = None,
        after: str | None = None,
        limit: int = PAGE_LIMIT,
        order: str = "desc",
    ) -> Page[StoredFile]:
        """Return the principal's files after the one with the id `after`, newest first unless `order` is "asc"."""
        check_page(limit, order, PAGE_LIMIT)
        if purpose is not None and not PURPOSE.fullmatch(purpose):
            return Page([], False)
        with self.database.read() as session:
            last = None if after is None else self._row(session, after, principal, param="after")
            owner, now = None if principal == LOCAL else principal, self.database.now(session)
            return cut(repository.page(session, owner, purpose, now, last, order, limit), limit)

    def content(self, id_: str, principal: str) -> tuple[StoredFile, Iterator[bytes]]:
        """Return the record and the content of a file. The content is read in chunks and checked against its hash."""
        file = self.get(id_, principal)
        return file, self.blobs.open(file.sha256)

    def fetch(self, file: StoredFile, path: Path) -> None:
        """Copy a file's content to `path`. The copy becomes visible only when it is complete and verified."""
        self.blobs.fetch(file.sha256, path)

    def delete(self, id_: str, principal: str) -> None:
        """Delete a file. Raises InvalidRequest (`file_in_use`) while an unfinished job uses the file."""
        with self.database.transaction() as session:
            row = self._row(session, id_, principal, lock=True)
            if jobs := repository.jobs_using(session, row.id):
                message = f"{row.id} is in use by {', '.join(jobs[:5])}; wait until the job has ended, or cancel it"
                raise InvalidRequest(message, code="file_in_use")
            repository.delete_file(session, row)

    def delete_expired(self) -> int:
        """Delete expired files, uploads and parts that no unfinished job uses. Returns the number of deleted rows."""
        with self.database.transaction() as session:
            rows = repository.expired(session, self.database.now(session))
            for row in rows:
                repository.delete_file(session, row)
            return len(rows)

    @contextmanager
    def _reading(self, session: Session | None) -> Iterator[Session]:
        with self.database.read() if session is None else nullcontext(session) as session_:
            yield session_

    def _row(
        self, session: Session, id_: str, principal: str, *, lock: bool = False, share: bool = False, param: str = "id"
    ) -> FileRow:
        row = repository.get(session, id_, lock=lock, share=share) if ID.fullmatch(id_) else None
        expired = row is not None and row.expires_at is not None and row.expires_at <= self.database.now(session)
        if row is None or expired or not visible(row.owner, principal):
            message = f"there is no file {id_[:60]!a}; GET /v1/files lists your files"
            raise NotFound(message, code="file_not_found", param=param)
        return row


def check_expiry(seconds: int, param: str) -> None:
    """Raise InvalidRequest unless `seconds` is a valid lifetime for a file."""
    if not LEAST_EXPIRY <= seconds <= MOST_EXPIRY:
        raise InvalidRequest(f"{param}.seconds must be from {LEAST_EXPIRY} to {MOST_EXPIRY}", param=param)


def check_purpose(purpose: str) -> None:
    """Raise InvalidRequest unless files may be uploaded for `purpose`."""
    if purpose not in PURPOSES:
        message = f"{purpose[:60]!a} is not a valid purpose; use fine-tune for a data set, or {listed(PURPOSES[1:])}"
        raise InvalidRequest(message, param="purpose")
