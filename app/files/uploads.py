"""Uploads large files in parts, as in OpenAI's API: begin, add parts, complete or cancel.

Uploads and their parts are stored as rows of the table `files`, with different id prefixes. Both expire and are
garbage-collected like files, but do not appear in file listings. The column `status_details` of an upload's row
contains a JSON description of the resulting file.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import msgspec
from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.orm import Session

from app.db import usage
from app.db.ownership import claim_blobs, visible
from app.db.paging import new_id
from app.db.tables import FileRow
from app.errors import InvalidRequest, NotFound
from app.files.outline import Outline
from app.files.records import StoredFile, clean_name, format_of
from app.files.repository import record
from app.files.service import Files, check_purpose
from app.files.usable import refuse_other_kinds
from app.storage.errors import StorageUnavailable
from app.storage.scratch import Scratch

PENDING, COMPLETED, CANCELLED, EXPIRED = "pending", "completed", "cancelled", "expired"
UPLOAD, PART = "upload", "part"  # the prefixes of the ids, and the purposes of the rows
UPLOAD_ID, PART_ID = re.compile(r"upload-[0-9a-f]{24}"), re.compile(r"part-[0-9a-f]{24}")
LIFETIME = 3600.0  # seconds until an upload must be complete, as in OpenAI's API
MOST_BYTES = 8 * 2**30
MOST_PARTS = 1000


class UploadPlan(msgspec.Struct, frozen=True):
    """Describes the file that results from an upload. Stored as JSON.

    `file` is the id of the resulting file once it exists.
    """

    purpose: str
    bytes: int
    expires_after: int | None = None
    file: str | None = None


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload. `file` is set once the upload has been completed. Times are seconds since the epoch."""

    id: str
    filename: str
    plan: UploadPlan
    status: str
    created_at: float
    expires_at: float
    file: StoredFile | None = None


@dataclass(frozen=True, slots=True)
class UploadPart:
    """A part of an upload."""

    id: str
    upload_id: str
    created_at: float


class Uploads:
    """The uploads of all principals. All methods are thread-safe.

    If an upload belongs to another owner, the methods raise NotFound (`upload_not_found`), as if the upload did not
    exist.
    """

    def __init__(self, files: Files) -> None:
        self._files, self._database, self._blobs = files, files.database, files.blobs

    def begin(self, owner: str, filename: str, purpose: str, size: int, expires_after: int | None = None) -> Upload:
        """Begin an upload of `size` bytes. Raises InvalidRequest if the size or the purpose is not valid."""
        if not 1 <= size <= MOST_BYTES:
            raise InvalidRequest(f"bytes must be from 1 to {MOST_BYTES}", param="bytes")
        check_purpose(purpose)
        plan = UploadPlan(purpose, size, expires_after)
        empty = self._blobs.put_bytes(b"")  # every row of the table must refer to a blob
        with self._database.transaction() as session:
            row = self._add(session, UPLOAD, owner, clean_name(filename), empty, 0)
            usage.check_stored(session, self._files.quotas, owner, more=size)
            row.status, row.status_details = PENDING, msgspec.json.encode(plan).decode()
            return self._upload(session, row)

    def add_part(
        self, upload_id: str, principal: str, stream: Iterable[bytes], limit: int, scratch: Scratch | None = None
    ) -> UploadPart:
        """Add a part of at most `limit` bytes.

        If the upload already has a part with the same bytes, that part is returned, so that a client can retry a
        request. If the stream reads a `scratch` file, that file is stored without a copy.

        Raises TooLarge if the part exceeds `limit`, and InvalidRequest if the upload has ended or if the parts would
        exceed the declared size.
        """
        with self._database.read() as session:
            owner = self._open(session, upload_id, principal).owner
        sha256, size = self._files.store(owner, stream, limit, scratch)
        with self._database.transaction() as session:
            # Lock the upload, so that only one of two equal parts is added, and the upload does not grow while its size
            # is checked.
            upload = self._open(session, upload_id, principal, lock=True)
            row = session.scalar(select(FileRow).where(*_of_upload(upload_id), FileRow.sha256 == sha256))
            if row is None:
                _check_room(session, upload, size)
                row = self._add(session, PART, owner, upload_id, sha256, size)
                usage.check_stored(session, self._files.quotas, owner)
            return UploadPart(row.id, upload_id, row.created_at)

    def complete(self, upload_id: str, principal: str, part_ids: Sequence[str], md5: str | None = None) -> Upload:
        """Join the parts into a file, in the order of `part_ids`.

        If `md5` is given, the file must have this MD5 hash.

        Several parts are copied into a new blob, so they temporarily need twice their size on disk. A single part
        becomes the file without being copied. Raises InvalidRequest if the upload has ended, or if the parts do not
        match the declared size or the hash, and StorageUnavailable if there is no room for the copy.
        """
        with self._database.read() as session:
            row = self._open(session, upload_id, principal)
            plan, parts = _plan(row), _parts(session, upload_id, part_ids)
        total = sum(part.bytes for part in parts)
        if total != plan.bytes:
            raise InvalidRequest(
                f"the parts contain {total} bytes in total, but the upload declared {plan.bytes} bytes",
                param="part_ids",
            )
        hasher = hashlib.md5(usedforsecurity=False)
        outline = Outline(format_of(row.filename))
        joined = refuse_other_kinds(self._join(parts, hasher.update), row.filename, plan.purpose, "part_ids")
        stream = outline.pass_through(joined)
        if len(parts) == 1:
            sha256, size = parts[0].sha256, sum(map(len, stream))
        else:
            self._check_disk(plan.bytes)
            sha256, size = self._blobs.put_stream(stream, plan.bytes)
        if md5 is not None and hasher.hexdigest() != md5.lower():
            message = f"the joined parts have the MD5 {hasher.hexdigest()}, which differs from the md5 in the request"
            raise InvalidRequest(message, param="md5")
        with self._database.transaction() as session:
            # Read the upload again: joining takes time, and the upload may have ended or expired in the meantime.
            row = self._open(session, upload_id, principal, lock=True)
            file = self._files.record(
                session, row.owner, row.filename, plan.purpose, sha256, size, expires_after=plan.expires_after,
                outline=outline,
            )  # fmt: skip
            self._end(session, row, COMPLETED, msgspec.structs.replace(plan, file=file.id))
            usage.check_stored(session, self._files.quotas, row.owner)
            return self._upload(session, row)

    def cancel(self, upload_id: str, principal: str) -> Upload:
        """Cancel an upload and delete its parts. Raises InvalidRequest if the upload has ended."""
        with self._database.transaction() as session:
            row = self._open(session, upload_id, principal, lock=True)
            self._end(session, row, CANCELLED, _plan(row))
            return self._upload(session, row)

    def _add(self, session: Session, kind: str, owner: str, filename: str, sha256: str, size: int) -> FileRow:
        claim_blobs(session, [sha256], self._blobs.exists)
        now = self._database.now(session)
        row = FileRow(
            id=new_id(kind),
            owner=owner,
            filename=filename,
            purpose=kind,
            bytes=size,
            sha256=sha256,
            status="uploaded",
            status_details=None,
            format=None,
            created_at=now,
            expires_at=now + LIFETIME,
        )
        session.add(row)
        session.flush()
        return row

    def _open(self, session: Session, upload_id: str, principal: str, *, lock: bool = False) -> FileRow:
        """Return the row of a pending upload. If `lock` is true, the row is locked until the transaction ends."""
        query = select(FileRow).where(FileRow.id == upload_id)
        query = query.with_for_update() if lock else query
        row = session.scalar(query) if UPLOAD_ID.fullmatch(upload_id) else None
        if row is None or row.purpose != UPLOAD or not visible(row.owner, principal):
            raise NotFound(f"there is no upload {upload_id[:60]!a}", code="upload_not_found", param="upload_id")
        status = self._upload(session, row).status
        if status != PENDING:
            raise InvalidRequest(f"{upload_id} is {status}; start a new upload", code="upload_not_pending")
        return row

    def _check_disk(self, size: int) -> None:
        """Raise StorageUnavailable if the disk has fewer than `size` bytes free. Called before anything is written."""
        free = self._blobs.free_bytes()
        if free < size:
            raise StorageUnavailable(
                f"joining the parts requires {size} bytes of disk space, but only {free} are free; the parts are kept "
                "until the upload expires, so complete it later, or send the whole file to POST /v1/files, which "
                "stores it only once",
                retry_after=60.0,
            )

    def _join(self, parts: Sequence[StoredFile], seen: Callable[[bytes], None]) -> Iterator[bytes]:
        for part in parts:
            for chunk in self._blobs.open(part.sha256):
                seen(chunk)
                yield chunk

    def _end(self, session: Session, row: FileRow, status: str, plan: UploadPlan) -> None:
        row.status, row.status_details = status, msgspec.json.encode(plan).decode()
        session.execute(delete(FileRow).where(*_of_upload(row.id)))
        session.flush()

    def _upload(self, session: Session, row: FileRow) -> Upload:
        plan, expires_at = _plan(row), row.expires_at or row.created_at
        expired = row.status == PENDING and expires_at <= self._database.now(session)
        file = session.get(FileRow, plan.file) if plan.file else None
        status = EXPIRED if expired else row.status
        return Upload(row.id, row.filename, plan, status, row.created_at, expires_at, record(file) if file else None)


def _of_upload(upload_id: str) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions that select the parts of an upload: their file name is the upload's id."""
    return FileRow.purpose == PART, FileRow.filename == upload_id


def _check_room(session: Session, upload: FileRow, size: int) -> None:
    # Let the database compute the sum. Otherwise each new part would load the rows of all earlier parts, of which an
    # upload can have up to a thousand.
    totals = select(func.count(), func.coalesce(func.sum(FileRow.bytes), 0)).where(*_of_upload(upload.id))
    count, used = session.execute(totals.where(FileRow.owner == upload.owner)).one()
    announced, total = _plan(upload).bytes, size + int(used)
    if total > announced:
        message = f"with this part, {upload.id} would contain {total} bytes, but the upload declared {announced} bytes"
        raise InvalidRequest(message, code="upload_too_large", param="data")
    if count >= MOST_PARTS:
        raise InvalidRequest(f"an upload can have at most {MOST_PARTS} parts; use larger parts", param="data")


def _parts(session: Session, upload_id: str, part_ids: Sequence[str]) -> list[StoredFile]:
    # Strings that are not ids may contain characters that the database rejects.
    ids = {part_id for part_id in part_ids if PART_ID.fullmatch(part_id)}
    rows = session.scalars(select(FileRow).where(*_of_upload(upload_id), FileRow.id.in_(ids)))
    parts = {row.id: record(row) for row in rows}
    for part_id in part_ids:
        if part_id not in parts:
            raise InvalidRequest(f"{part_id[:60]!a} is not a part of {upload_id}", param="part_ids")
    return [parts[part_id] for part_id in part_ids]


def _plan(row: FileRow) -> UploadPlan:
    return msgspec.json.decode(row.status_details or "", type=UploadPlan)
