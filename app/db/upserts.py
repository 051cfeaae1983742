"""INSERT statements with an ON CONFLICT clause, for the dialect of a session."""

from __future__ import annotations

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from app.db.tables import TableBase

Insert = postgresql.Insert | sqlite.Insert


def insert_into(session: Session, table: type[TableBase]) -> Insert:
    """Return an INSERT statement with the methods `on_conflict_do_nothing` and `on_conflict_do_update`."""
    if session.get_bind().dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)
