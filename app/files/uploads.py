"""Large files sent in parts, after OpenAI's uploads: begin, add parts, complete or cancel.

An upload and its parts are rows among the files', with ids of their own kind: so their bytes are kept, owned and
forgotten by the same rules, and no list of files shows them. What an upload is to become stands in its
`status_details`, as JSON.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import msgspec
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.db.ownership import claim_blobs, visible
from app.db.paging import new_id
from app.db.tables import FileRow
from app.errors import InvalidRequest, NotFound
from app.files.outline import Outline
from app.files.records import StoredFile, clean_name, format_of
from app.files.repository import record
from app.files.service import PURPOSE, Files

PENDING, COMPLETED, CANCELLED, EXPIRED = "pending", "completed", "cancelled", "expired"
UPLOAD, PART = "upload", "part"  # the kinds of id
UPLOAD_ID, PART_ID = re.compile(r"upload-[0-9a-f]{24}"), re.compile(r"part-[0-9a-f]{24}")
LIFETIME = 3600.0  # seconds to send everything in, as OpenAI has it
MOST_BYTES = 8 * 2**30
MOST_PARTS = 1000


class UploadPlan(msgspec.Struct, frozen=True):
    """What an upload is to become, and the file that it has become."""

    purpose: str
    bytes: int
    expires_after: int | None = None
    file: str | None = None


@dataclass(frozen=True, slots=True)
class Upload:
    id: str
    filename: str
    plan: UploadPlan
    status: str
    created_at: float
    expires_at: float
    file: StoredFile | None = None


@dataclass(frozen=True, slots=True)
class Part:
    id: str
    upload_id: str
    created_at: float


class Uploads:
    """Its methods are safe to call from any thread."""

    def __init__(self, files: Files) -> None:
        self._files, self._database, self._blobs = files, files.database, files.blobs

    def begin(self, owner: str, filename: str, purpose: str, size: int, expires_after: int | None = None) -> Upload:
        if not 1 <= size <= MOST_BYTES:
            raise InvalidRequest(f"bytes must be from 1 to {MOST_BYTES}", param="bytes")
        if not PURPOSE.fullmatch(purpose):
            raise InvalidRequest(f"purpose {purpose[:60]!a} is none; for a data set it is fine-tune", param="purpose")
        plan = UploadPlan(purpose, size, expires_after)
        empty = self._blobs.put_bytes(b"")
        with self._database.transaction() as session:
            row = self._add(session, UPLOAD, owner, clean_name(filename), empty, 0)
            row.status, row.status_details = PENDING, msgspec.json.encode(plan).decode()
            return self._upload(session, row)

    def add_part(self, upload_id: str, principal: str, stream: Iterable[bytes], limit: int) -> Part:
        """The same bytes again are the same part, so that a client may repeat what got no answer.

        Raises TooLarge beyond `limit` bytes, InvalidRequest where the upload takes no more.
        """
        with self._database.read() as session:
            self._open(session, upload_id, principal)
        sha256, size = self._blobs.put_stream(stream, limit)
        with self._database.transaction() as session:
            upload = self._open(session, upload_id, principal, lock=True)
            parts = session.scalars(select(FileRow).where(FileRow.purpose == PART, FileRow.filename == upload_id)).all()
            row = next((part for part in parts if part.sha256 == sha256), None)
            if row is None:
                _check_room(upload, parts, size)
                row = self._add(session, PART, upload.owner, upload_id, sha256, size)
            return Part(row.id, upload_id, row.created_at)

    def complete(self, upload_id: str, principal: str, part_ids: Sequence[str], md5: str | None = None) -> Upload:
        """Join the parts, in the order given, into a file."""
        with self._database.read() as session:
            row = self._open(session, upload_id, principal)
            plan, parts = _plan(row), [self._part(session, upload_id, id_) for id_ in part_ids]
        total = sum(part.bytes for part in parts)
        if total != plan.bytes:
            raise InvalidRequest(f"the parts have {total} bytes in all; {plan.bytes} were announced", param="part_ids")
        hasher = hashlib.md5(usedforsecurity=False)
        outline = Outline(format_of(row.filename))
        sha256, size = self._blobs.put_stream(outline.seen(self._joined(parts, hasher.update)), plan.bytes)
        if md5 is not None and hasher.hexdigest() != md5.lower():
            raise InvalidRequest(f"the joined parts have the MD5 {hasher.hexdigest()}, not the one given", param="md5")
        with self._database.transaction() as session:
            row = self._open(session, upload_id, principal, lock=True)
            made = self._files.record(
                session, row.owner, row.filename, plan.purpose, sha256, size, expires_after=plan.expires_after,
                outline=outline,
            )  # fmt: skip
            self._end(session, row, COMPLETED, msgspec.structs.replace(plan, file=made.id))
            return self._upload(session, row)

    def cancel(self, upload_id: str, principal: str) -> Upload:
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
        """The row of an upload that still takes parts; `lock`: nobody ends it meanwhile."""
        query = select(FileRow).where(FileRow.id == upload_id)
        query = query.with_for_update() if lock else query
        row = session.scalar(query) if UPLOAD_ID.fullmatch(upload_id) else None
        if row is None or row.purpose != UPLOAD or not visible(row.owner, principal):
            raise NotFound(f"there is no upload {upload_id[:60]!a}", code="upload_not_found", param="upload_id")
        status = self._upload(session, row).status
        if status != PENDING:
            raise InvalidRequest(f"{upload_id} is {status}; begin a new upload", code="upload_not_pending")
        return row

    def _part(self, session: Session, upload_id: str, part_id: str) -> StoredFile:
        row = session.scalar(select(FileRow).where(FileRow.id == part_id)) if PART_ID.fullmatch(part_id) else None
        if row is None or row.purpose != PART or row.filename != upload_id:
            raise InvalidRequest(f"{part_id[:60]!a} is no part of {upload_id}", param="part_ids")
        return record(row)

    def _joined(self, parts: Sequence[StoredFile], seen: Callable[[bytes], None]) -> Iterator[bytes]:
        for part in parts:
            for piece in self._blobs.open(part.sha256):
                seen(piece)
                yield piece

    def _end(self, session: Session, row: FileRow, status: str, plan: UploadPlan) -> None:
        row.status, row.status_details = status, msgspec.json.encode(plan).decode()
        session.execute(delete(FileRow).where(FileRow.purpose == PART, FileRow.filename == row.id))
        session.flush()

    def _upload(self, session: Session, row: FileRow) -> Upload:
        plan, ends = _plan(row), row.expires_at or row.created_at
        late = row.status == PENDING and ends <= self._database.now(session)
        made = session.get(FileRow, plan.file) if plan.file else None
        status = EXPIRED if late else row.status
        return Upload(row.id, row.filename, plan, status, row.created_at, ends, record(made) if made else None)


def _check_room(upload: FileRow, parts: Sequence[FileRow], size: int) -> None:
    announced, total = _plan(upload).bytes, size + sum(part.bytes for part in parts)
    if total > announced:
        message = f"with this part there are {total} bytes; {announced} were announced for {upload.id}"
        raise InvalidRequest(message, code="upload_too_large", param="data")
    if len(parts) >= MOST_PARTS:
        raise InvalidRequest(f"an upload has {MOST_PARTS} parts at most; send larger ones", param="data")


def _plan(row: FileRow) -> UploadPlan:
    return msgspec.json.decode(row.status_details or "", type=UploadPlan)
