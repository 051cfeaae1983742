"""The audit log, which records the changes that clients make. Entries are added in batches and never changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import insert, select

from app.db.database import Database
from app.db.paging import Page, check_page, cut
from app.db.tables import AuditRow
from app.errors import NotFound

MOST = 1000  # maximum number of entries on a page
ID_LIMIT = 2**63


@dataclass(frozen=True, slots=True)
class Change:
    """A request that made a change. `subject` is the id in the reply, and `created_at` is the time of the reply."""

    principal: str
    method: str
    path: str
    subject: str
    status: int
    request_id: str
    created_at: float


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """A change and its position in the log."""

    id: int
    change: Change


def append(database: Database, changes: Sequence[Change]) -> None:
    """Append changes to the log."""
    with database.transaction() as session:
        session.execute(insert(AuditRow), [asdict(change) for change in changes])


def load(database: Database, after: int | None, limit: int, order: str) -> Page[AuditEntry]:
    """Load a page of the log. Raises NotFound (`audit_entry_not_found`) for an unknown `after`, and InvalidRequest."""
    check_page(limit, order, MOST)
    query = select(AuditRow)
    with database.read() as session:
        if after is not None:
            if not 0 < after < ID_LIMIT or session.get(AuditRow, after) is None:
                raise NotFound(f"the audit log has no entry {after}", code="audit_entry_not_found", param="after")
            query = query.where(AuditRow.id > after if order == "asc" else AuditRow.id < after)
        query = query.order_by(AuditRow.id.asc() if order == "asc" else AuditRow.id.desc()).limit(limit + 1)
        return cut([AuditEntry(row.id, _change(row)) for row in session.scalars(query)], limit)


def _change(row: AuditRow) -> Change:
    return Change(row.principal, row.method, row.path, row.subject, row.status, row.request_id, row.created_at)
