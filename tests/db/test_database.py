"""Transactions, the clock, and migrations, on both databases."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text
from sqlalchemy.exc import DatabaseError, IntegrityError

from app.db import database as module
from app.db import pools
from app.db.database import Database, DatabaseFull, DatabaseOutdated, DatabaseUnavailable, url_of
from app.db.tables import AliasRow, ModelRow, TableBase
from app.settings import SettingError
from tests.full_databases import full

MIGRATIONS = Path(module.__file__).with_name("migrations")
MIGRATE = "import sys; from app.db.database import Database; d = Database(sys.argv[1]); d.migrate(); d.close()"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def bare_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without tables."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'new' / 'bare.db'}"
        return
    cluster = request.getfixturevalue("postgres_cluster")
    cluster.execute("CREATE DATABASE bare")
    yield cluster.url("bare")
    cluster.execute("DROP DATABASE bare WITH (FORCE)")


def add(session: Any, name: str) -> None:
    session.add(ModelRow(name=name, owner="alice", next_version=1, created_at=0.0))


def names(database: Database) -> list[str]:
    with database.read() as session:
        return list(session.execute(text("SELECT name FROM models ORDER BY name")).scalars())


def test_migrations_make_the_tables(database: Database) -> None:
    def mine(_obj: object, name: str | None, kind: str, _reflected: bool, _to: object) -> bool:
        return not (kind == "table" and name == "alembic_version")

    with database.transaction() as session:
        context = MigrationContext.configure(
            session.connection(),
            opts={"compare_type": True, "compare_server_default": True, "include_object": mine},
        )
        assert compare_metadata(context, TableBase.metadata) == []


def test_constraints_have_the_same_names(database: Database) -> None:
    inspector = inspect(database.engine)
    for table in TableBase.metadata.tables.values():
        unique = {c.name for c in table.constraints if type(c).__name__ == "UniqueConstraint"}
        assert {c["name"] for c in inspector.get_unique_constraints(table.name)} == unique
        foreign = {c.name for c in table.foreign_key_constraints}
        assert {c["name"] for c in inspector.get_foreign_keys(table.name)} == foreign


def test_an_outdated_database_is_refused_with_the_command_to_run(bare_url: str) -> None:
    database = Database(bare_url)
    with pytest.raises(DatabaseOutdated, match="ostinato migrate"):
        names(database)
    with database.transaction() as session:
        session.execute(text("CREATE TABLE models (name TEXT)"))
    with pytest.raises(DatabaseOutdated, match="ostinato migrate"), database.transaction() as session:
        session.get(ModelRow, "x")  # as in an earlier release: a column is missing
    database.close()


def test_several_processes_may_migrate_at_once(bare_url: str) -> None:
    starts = [subprocess.Popen([sys.executable, "-c", MIGRATE, bare_url], stderr=subprocess.PIPE) for _ in range(4)]
    for process in starts:
        errors = process.communicate(timeout=60)[1]
        assert process.returncode == 0, errors.decode()
    database = Database(bare_url)
    database.migrate()
    assert names(database) == []
    database.close()


def test_every_migration_can_be_undone_and_keeps_the_rows(database: Database) -> None:
    """A database of any earlier version can be upgraded with its rows."""
    with database.transaction() as session:
        add(session, "a")
    revisions = list(ScriptDirectory(str(MIGRATIONS)).walk_revisions())
    for revision in revisions[:-1]:  # the newest first; the first one has no predecessor
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        with database.engine.begin() as connection:
            config.attributes["connection"] = connection
            command.downgrade(config, str(revision.down_revision))
    database.migrate()
    test_migrations_make_the_tables(database)
    assert names(database) == ["a"]


def test_a_transaction_is_applied_completely_or_not_at_all(database: Database) -> None:
    with pytest.raises(ZeroDivisionError), database.transaction() as session:
        add(session, "a")
        session.flush()
        _ = 1 / 0
    with database.transaction() as session:
        add(session, "b")
    assert names(database) == ["b"]


def test_readers_cannot_write(database: Database) -> None:
    with pytest.raises((DatabaseError, DatabaseUnavailable)), database.read() as session:
        add(session, "a")
        session.flush()
    with database.transaction() as session:
        add(session, "b")
    assert names(database) == ["b"]


def test_foreign_keys_hold(database: Database) -> None:
    with pytest.raises(IntegrityError), database.transaction() as session:
        session.add(AliasRow(model="none", alias="a", version=1, required=False, owner="alice", updated_at=0.0))


def test_the_clock_is_that_of_the_database(database: Database) -> None:
    with database.read() as session:
        first, second = database.now(session), database.now(session)
    assert abs(first - time.time()) < 5
    assert first <= second


def test_writers_wait_for_each_other(database: Database) -> None:
    """No increment of the counter is lost: the row or the whole database is locked between the read and the write."""
    with database.transaction() as session:
        add(session, "a")

    def count() -> None:
        for _ in range(10):
            with database.transaction() as session:
                row = session.get(ModelRow, "a", with_for_update=True)
                assert row is not None
                row.next_version += 1

    threads = [threading.Thread(target=count) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as session:
        row = session.get(ModelRow, "a")
        assert row is not None and row.next_version == 51


def test_sqlite_holds_the_lock_from_the_start(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    other = sqlite3.connect(database.url.database or "", timeout=0.0, isolation_level=None)
    with database.transaction(), pytest.raises(sqlite3.OperationalError, match="locked"):
        other.execute("BEGIN IMMEDIATE")
    other.execute("BEGIN IMMEDIATE")
    other.close()
    database.close()


def test_readers_do_not_wait_for_a_writer(database: Database) -> None:
    with database.transaction() as session:
        add(session, "a")
        session.flush()
        assert names(database) == []
    assert names(database) == ["a"]


def test_sqlite_is_set_up_for_several_processes(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    with database.transaction() as session:
        settings = {p: session.execute(text(f"PRAGMA {p}")).scalar() for p in ("journal_mode", "foreign_keys")}
    assert settings == {"journal_mode": "wal", "foreign_keys": 1}
    database.close()


@pytest.mark.postgres
def test_a_stopped_database_is_unavailable_until_it_restarts(postgres_url: str, postgres_cluster: Any) -> None:
    database = Database(postgres_url)
    database.ping()
    postgres_cluster.stop()
    try:
        with pytest.raises(DatabaseUnavailable):
            database.ping()
    finally:
        postgres_cluster.start()
    database.ping()
    database.close()


@pytest.mark.postgres
def test_a_frozen_transaction_loses_its_locks(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Database(postgres_url)
    with other.transaction() as session:
        add(session, "a")
    monkeypatch.setattr(pools, "IDLE_SECONDS", 0.2)
    frozen = Database(postgres_url)
    change = text("UPDATE models SET next_version = next_version + 1")
    with pytest.raises(DatabaseUnavailable), frozen.transaction() as session:
        session.execute(change)
        with other.transaction() as second:
            second.execute(text("SET LOCAL lock_timeout = '60s'"))
            second.execute(change)
        session.execute(change)
    assert names(frozen) == ["a"]
    with other.read() as session:
        assert session.execute(text("SELECT next_version FROM models")).scalar() == 2
    frozen.close()
    other.close()


@pytest.mark.parametrize(
    ("given", "driver"),
    [
        ("postgres://u:p@h/d", "postgresql+psycopg"),
        ("postgresql://u:p@h/d?host=/tmp", "postgresql+psycopg"),
        ("postgresql+psycopg://h/d", "postgresql+psycopg"),
        ("sqlite:////tmp/a.db", "sqlite"),
    ],
)
def test_urls_are_normalised(given: str, driver: str) -> None:
    assert url_of(given).drivername == driver


@pytest.mark.parametrize(
    "given", ["", "nonsense", "mysql://h/d", "sqlite://", "sqlite:///:memory:", "postgresql://h:port/d"]
)
def test_other_urls_are_refused(given: str) -> None:
    with pytest.raises(SettingError, match="OSTINATO_DATABASE_URL"):
        url_of(given)


def test_a_folder_that_cannot_be_created_is_reported() -> None:
    with pytest.raises(SettingError, match=r"OSTINATO_DATABASE_URL.*/proc/version"):
        Database("sqlite:////proc/version/a.db")


def fill(database: Database) -> int:
    """Add rows until the database is full. Return their number."""
    for number in range(10_000):
        with database.transaction() as session:
            add(session, f"model-{number:04}")
    raise AssertionError("the database was never full")


def test_a_full_disk_is_told_and_loses_nothing(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    database.migrate()
    with full(database):
        with pytest.raises(DatabaseFull, match="disk of the database is full") as caught:
            fill(database)
        assert (caught.value.status, caught.value.retryable, caught.value.retry_after) == (503, True, 60.0)
        kept = names(database)
        assert kept == [f"model-{number:04}" for number in range(len(kept))] and kept
    with database.transaction() as session:
        add(session, "after")
    assert names(database) == ["after", *kept]
    database.close()
