"""The database as the services see it: transactions, its clock, its migrations.

Knows SQLite and PostgreSQL and how they differ; knows no table but those of alembic.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, literal_column, select, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, InterfaceError, InternalError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session
from sqlalchemy.pool import QueuePool

from app.errors import Unavailable
from app.settings import PREFIX, SettingError

SETTING = f"{PREFIX}DATABASE_URL"
BUSY_SECONDS = 30.0
IDLE_SECONDS = 15.0  # a program that is frozen within a transaction holds its locks no longer than this
CLOSE_SECONDS = 1.0
MIGRATION_LOCK = 0x0571_4A70  # any number, the same in every version of the product
NOW = {
    "sqlite": "(julianday('now') - 2440587.5) * 86400.0",
    "postgresql": "extract(epoch from clock_timestamp())::double precision",
}
AWAY = (OperationalError, InterfaceError, PoolTimeout)
ENDED_AS_IDLE = "25P03"  # PostgreSQL: see IDLE_SECONDS; other internal errors are faults of ours
UNKNOWN_STATES = ("42P01", "42703")  # PostgreSQL: no such table, no such column
UNKNOWN_WORDS = ("no such table", "no such column")  # SQLite
NO_ANSWER = "the database does not answer; try again in a moment"
OUTDATED = "the database has not the tables of this release; run: ostinato migrate"


class DatabaseUnavailable(Unavailable):
    code = "database_unavailable"


class DatabaseOutdated(DatabaseUnavailable):
    """It answers, but has not the tables of this release."""

    code = "database_outdated"


def url_of(text_: str) -> URL:
    """The SQLAlchemy URL for what a person wrote: `postgres://…` and `postgresql://…` mean psycopg 3."""
    try:
        url = make_url(text_)
    except (ArgumentError, ValueError):  # the latter for a port that is no number
        raise SettingError(f"{SETTING} cannot be read; it looks like sqlite:///path or postgresql://…") from None
    if url.drivername in ("postgres", "postgresql"):
        url = url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() not in NOW:
        raise SettingError(f"{SETTING} names {url.drivername!r}; it can be sqlite or postgresql")
    if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
        raise SettingError(f"{SETTING} needs a file, as in sqlite:///ostinato.db: several programs share it")
    return url


class Database:
    """One per process. Its methods are safe to call from any thread."""

    def __init__(self, url: str | URL) -> None:
        self.url = url_of(url) if isinstance(url, str) else url
        self.engine = _sqlite(self.url) if self.dialect == "sqlite" else _postgresql(self.url)
        self._reader = self.engine.execution_options(postgresql_readonly=True, reads_only=True)

    @property
    def dialect(self) -> str:
        return self.url.get_backend_name()

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """All of the block or nothing of it. On SQLite it holds the one write lock from its start."""
        with _told(), Session(self.engine, expire_on_commit=False) as session, session.begin():
            session.connection()  # begin now: a session would wait for its first statement, and take the lock then
            yield session

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session that cannot write."""
        with _told(), Session(self._reader, expire_on_commit=False) as session, session.begin():
            yield session

    def now(self, session: Session) -> float:
        """Seconds since the epoch by the database's clock, which all processes share."""
        return float(session.scalar(select(literal_column(NOW[self.dialect]))) or 0.0)

    def migrate(self) -> None:
        """Bring the tables up to date. Several processes may call it at once: one works, the others wait."""
        config = _alembic()
        with _told(), self.engine.begin() as connection:
            if self.dialect == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    def check_tables(self) -> None:
        """Raise DatabaseOutdated unless the tables are those of this release."""
        with self.read() as session:
            found = MigrationContext.configure(session.connection()).get_current_revision()
        if found != ScriptDirectory.from_config(_alembic()).get_current_head():
            raise DatabaseOutdated(OUTDATED)

    def ping(self) -> None:
        """Raise DatabaseUnavailable unless the database answers."""
        with self.read() as session:
            session.execute(text("SELECT 1"))

    def close(self) -> None:
        """Close the connections; a query that another thread is in the middle of may end first."""
        deadline = time.monotonic() + CLOSE_SECONDS
        while self._in_use() and time.monotonic() < deadline:
            time.sleep(0.01)
        self.engine.dispose()

    def _in_use(self) -> int:
        return self.engine.pool.checkedout() if isinstance(self.engine.pool, QueuePool) else 0


def reason(error: Exception) -> str:
    """Why a database does not answer, in one line, for those who look after it: it may tell addresses and names."""
    cause = error.__cause__ or error
    return str(getattr(cause, "orig", None) or cause).strip().split("\n")[0]


def _alembic() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    return config


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except ProgrammingError as error:
        if getattr(error.orig, "sqlstate", None) in UNKNOWN_STATES:
            raise DatabaseOutdated(OUTDATED) from error
        raise
    except InternalError as error:
        if getattr(error.orig, "sqlstate", None) == ENDED_AS_IDLE:
            raise DatabaseUnavailable(NO_ANSWER, retry_after=1.0) from error
        raise
    except AWAY as error:
        if str(error.orig if isinstance(error, OperationalError) else "").startswith(UNKNOWN_WORDS):
            raise DatabaseOutdated(OUTDATED) from error
        raise DatabaseUnavailable(NO_ANSWER, retry_after=1.0) from error


def _postgresql(url: URL) -> Engine:
    text_is_utf8 = {"client_encoding": "utf8"}  # whatever encoding the database was made with
    engine = create_engine(
        url, connect_args=text_is_utf8, pool_size=5, max_overflow=15, pool_timeout=BUSY_SECONDS, pool_pre_ping=True
    )
    event.listen(engine, "connect", _end_idle_transactions)
    return engine


def _end_idle_transactions(connection: Any, _record: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SET idle_in_transaction_session_timeout = {int(IDLE_SECONDS * 1000)}")
    connection.commit()


def _sqlite(url: URL) -> Engine:
    folder = Path(url.database or "").expanduser().parent
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SettingError(f"{SETTING}: cannot make {folder}: {error.strerror}; name another place") from None
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS}, pool_size=5, max_overflow=15)
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # the driver opens no transaction behind our back: `_begin` does
    _enter_wal(connection)
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = FULL")  # a reported end of a job survives a power cut


def _enter_wal(connection: sqlite3.Connection) -> None:
    """Changing the journal does not wait on the busy timeout, and a new file's first users all try it."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").close()
            return
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _begin(connection: Connection) -> None:
    """A writer takes the lock at once: a transaction that reads first and writes later could not wait for it."""
    reads_only: Any = connection.get_execution_options().get("reads_only", False)
    connection.exec_driver_sql(f"PRAGMA query_only = {'ON' if reads_only else 'OFF'}")
    connection.exec_driver_sql("BEGIN" if reads_only else "BEGIN IMMEDIATE")
