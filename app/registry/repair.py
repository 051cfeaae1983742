"""Finds and repairs rows with values that cannot be encoded in a reply, such as lone surrogates from early releases."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app import strict_json
from app.db.tables import FileRow, JobCheckpointRow, VersionRow
from app.registry import metrics

RowClass = type[VersionRow] | type[JobCheckpointRow] | type[FileRow]
COLUMNS: tuple[tuple[RowClass, tuple[str, ...]], ...] = (
    (VersionRow, ("config", "metrics")),
    (JobCheckpointRow, ("config", "metrics")),
    (FileRow, ("column_names", "column_roles")),
)
AT_A_TIME = 20  # rows; the metrics of one row may take up megabytes


class _Damage(NamedTuple):
    table: RowClass
    key: Any
    column: str

    def describe(self, session: Session) -> str:
        """Return the row's id as in the API, followed by the column name."""
        if self.table is not VersionRow:
            return f"{self.key} {self.column}"
        row = session.get_one(VersionRow, self.key)
        return f"{row.model}:{row.version} {self.column}"


def find(session: Session) -> list[str]:
    """Return the names of the damaged columns, such as `reviews:3 metrics`."""
    return [damage.describe(session) for damage in list(_scan(session))]


def mend(session: Session) -> list[str]:
    """Repair all damaged columns, and return their names as `find` does. Version files do not change."""
    damages = list(_scan(session))
    names = [damage.describe(session) for damage in damages]
    for table, key, column in damages:
        value = session.scalar(select(getattr(table, column)).where(table.id == key))
        session.execute(update(table).where(table.id == key).values({column: _mend(column, value)}))
    return names


def _scan(session: Session) -> Iterator[_Damage]:
    for table, columns in COLUMNS:
        for column in columns:
            query = select(table.id, getattr(table, column)).execution_options(yield_per=AT_A_TIME)
            for key, value in session.execute(query):
                if _mend(column, value) != value:
                    yield _Damage(table, key, column)


def _mend(column: str, value: Any) -> Any:
    return metrics.reduce(value) if column == "metrics" else strict_json.mend(value)
