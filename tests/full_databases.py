"""SQLite databases that cannot grow, as on a full disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event

from app.db.database import Database


@contextmanager
def full(database: Database) -> Iterator[None]:
    """Prevent the database file from growing during the block. Existing pages may still have space for rows."""

    def limit(connection: Any, *_: object) -> None:
        connection.execute("PRAGMA max_page_count = 1")  # SQLite raises this to the present size

    event.listen(database.engine, "checkout", limit)
    try:
        yield
    finally:
        event.remove(database.engine, "checkout", limit)
        database.engine.dispose()  # new connections have no limit
