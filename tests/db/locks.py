"""Shows whether transactions in PostgreSQL wait for locks."""

from __future__ import annotations

from sqlalchemy import text

from app.db.database import Database

WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


def is_a_transaction_waiting(database: Database) -> bool:
    """Whether a transaction in this database waits for a lock that another transaction holds."""
    with database.read() as session:
        return bool(session.execute(text(WAITING)).scalar_one())
