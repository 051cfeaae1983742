"""The SQL for uploaded files. Uses the caller's session. Permissions and states are checked by the services."""

from __future__ import annotations

from sqlalchemy import ColumnElement, and_, delete, or_, select
from sqlalchemy.orm import Session

from app.db.tables import ENDED, FileRow, JobRow, ProbesRow, VersionRow
from app.files.records import StoredFile


def record(row: FileRow) -> StoredFile:
    """Convert a row to a record."""
    return StoredFile(
        id=row.id,
        owner=row.owner,
        filename=row.filename,
        purpose=row.purpose,
        bytes=row.bytes,
        sha256=row.sha256,
        status=row.status,
        status_details=row.status_details,
        format=row.format,
        created_at=row.created_at,
        expires_at=row.expires_at,
        rows=row.row_count,
        columns=row.column_names,
        roles=row.column_roles or {},
    )


def get(session: Session, id_: str, *, lock: bool = False, share: bool = False) -> FileRow | None:
    """Return the row with this id, or None. With `lock`, locks the row; with `share`, locks it for sharing."""
    query = select(FileRow).where(FileRow.id == id_)
    if lock or share:
        query = query.with_for_update(read=share)
    return session.scalar(query)


def page(
    session: Session, owner: str | None, purpose: str | None, now: float, after: FileRow | None, order: str, limit: int
) -> list[StoredFile]:
    """Load up to `limit + 1` files that have not expired, ordered by age, after the file `after`.

    If `owner` or `purpose` is None, loads the files of all owners or purposes.
    """
    query = select(FileRow).where(FileRow.id.startswith("file-"))  # excludes the rows of uploads and of their parts
    query = query.where(or_(FileRow.expires_at.is_(None), FileRow.expires_at > now))
    if owner is not None:
        query = query.where(FileRow.owner == owner)
    if purpose is not None:
        query = query.where(FileRow.purpose == purpose)
    if after is not None:
        query = query.where(_beyond(after, order))
    keys = (FileRow.created_at, FileRow.id)
    query = query.order_by(*(key.asc() if order == "asc" else key.desc() for key in keys))
    return [record(row) for row in session.scalars(query.limit(limit + 1))]


def jobs_using(session: Session, id_: str) -> list[str]:
    """Return the ids of the unfinished jobs that use the file. Omits trials: their auto job is listed instead."""
    uses = or_(JobRow.training_file == id_, JobRow.validation_file == id_)
    jobs = select(JobRow.id).where(uses, JobRow.status.not_in(ENDED), JobRow.parent_id.is_(None))
    return list(session.scalars(jobs.order_by(JobRow.id)))


def deletable(now: float) -> ColumnElement[bool]:
    """The condition that a row has expired and no unfinished job uses it."""
    uses = or_(JobRow.training_file == FileRow.id, JobRow.validation_file == FileRow.id)
    used = select(JobRow.id).where(uses, JobRow.status.not_in(ENDED)).exists()
    return and_(FileRow.expires_at <= now, ~used)


def expired(session: Session, now: float) -> list[FileRow]:
    """Lock and return the expired rows that no unfinished job uses. Skips rows locked by other transactions."""
    # If another transaction has locked a row, that file is being deleted, or a job that uses it is being created.
    locked = set(session.scalars(select(FileRow.id).where(deletable(now)).with_for_update(skip_locked=True)))
    # Check the rows again. If a job was created during that query, PostgreSQL did not see the job, but could lock the
    # file, because the transaction that created the job had ended.
    return [row for row in session.scalars(select(FileRow).where(deletable(now))) if row.id in locked]


def delete_file(session: Session, row: FileRow) -> None:
    """Delete a file, and the probes of versions that were trained on it, because probes are excerpts of the file."""
    uses = or_(JobRow.training_file == row.id, JobRow.validation_file == row.id)
    trained = select(VersionRow.id).join(JobRow, JobRow.id == VersionRow.job_id).where(uses)
    same = VersionRow.digest == ProbesRow.digest, VersionRow.owner == ProbesRow.owner
    session.execute(delete(ProbesRow).where(trained.where(*same).correlate(ProbesRow).exists()))
    session.delete(row)


def _beyond(after: FileRow, order: str) -> ColumnElement[bool]:
    same = FileRow.created_at == after.created_at
    if order == "asc":
        return or_(FileRow.created_at > after.created_at, and_(same, FileRow.id > after.id))
    return or_(FileRow.created_at < after.created_at, and_(same, FileRow.id < after.id))
