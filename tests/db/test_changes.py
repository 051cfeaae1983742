"""The mark of a database changes with every commit, and query results are reused until the mark changes."""

from __future__ import annotations

import shutil
from collections.abc import Hashable
from pathlib import Path

import pytest
from sqlalchemy import text

from app.db import changes as module
from app.db.changes import Changes, Remembered
from app.db.database import Database


def commit(database: Database) -> None:
    with database.transaction() as session:
        session.execute(text("CREATE TABLE IF NOT EXISTS marks (n INTEGER)"))
        session.execute(text("INSERT INTO marks VALUES (1)"))


def check_marks(database: Database, other: Database) -> None:
    """Check that a mark changes only with a commit of this process or of another process."""
    changes = Changes(database)
    commit(database)
    first = changes.mark()
    assert first is not None and changes.mark() == first
    with database.read() as session:
        session.execute(text("SELECT 1"))
    assert changes.mark() == first
    commit(database)
    second = changes.mark()
    assert second != first and changes.mark() == second
    commit(other)
    assert changes.mark() not in (first, second)
    changes.close()


def test_a_commit_changes_the_mark_of_sqlite(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'a.db'}"
    database, other = Database(url), Database(url)
    check_marks(database, other)
    database.close()
    other.close()


@pytest.mark.postgres
def test_a_commit_changes_the_mark_of_postgresql(postgres_url: str) -> None:
    database, other = Database(postgres_url), Database(postgres_url)
    check_marks(database, other)
    database.close()
    other.close()


def test_a_replaced_file_changes_the_mark(tmp_path: Path) -> None:
    path, backup = tmp_path / "a.db", tmp_path / "b.db"
    database = Database(f"sqlite:///{path}")
    commit(database)
    database.close()
    shutil.copy(path, backup)
    changes = Changes(database)
    first = changes.mark()
    backup.rename(path)
    assert changes.mark() not in (None, first)
    path.unlink()
    assert changes.mark() is None
    changes.close()


def test_an_error_changes_the_mark_for_every_caller(tmp_path: Path) -> None:
    """After an error, a new connection counts commits from the start, so its count may equal an earlier mark."""
    path, moved = tmp_path / "a.db", tmp_path / "moved.db"
    database = Database(f"sqlite:///{path}")
    commit(database)
    changes = Changes(database)
    first = changes.mark()
    path.rename(moved)
    assert changes.mark() is None  # a first caller sees the error
    moved.rename(path)
    assert changes.mark() not in (None, first)
    changes.close()
    database.close()


def test_results_are_reused_until_the_mark_changes() -> None:
    marks: list[Hashable | None] = ["a"]
    asked: list[tuple[int, ...]] = []

    def ask(*numbers: int) -> int:
        asked.append(numbers)
        return sum(numbers)

    remembered = Remembered(ask, lambda: marks[0])
    assert [remembered(1, 2), remembered(1, 2), remembered(3)] == [3, 3, 3]
    assert asked == [(1, 2), (3,)]
    marks[0] = "b"
    assert remembered(1, 2) == 3 and len(asked) == 3
    marks[0] = None  # the state of the database is unknown
    assert remembered(1, 2) == 3 and remembered(1, 2) == 3 and len(asked) == 5


def test_errors_are_not_remembered_and_a_commit_during_a_query_is_noticed() -> None:
    marks, results = ["a"], [ValueError(), 1, 2]

    def ask() -> int:
        marks[0] += "a"  # a commit after the mark was read
        result = results.pop(0)
        if isinstance(result, ValueError):
            raise result
        return result

    remembered = Remembered(ask, lambda: marks[0])
    with pytest.raises(ValueError):
        remembered()
    assert [remembered(), remembered()] == [1, 2]


def test_the_number_of_results_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 10)
    remembered = Remembered(lambda number: number, lambda: "a")
    assert [remembered(number) for number in range(100)] == list(range(100))
    assert len(remembered._results) == 10
