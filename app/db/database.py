"""Database access for SQLite and PostgreSQL: transactions, the database's clock, and migrations."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import literal_column, select, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, InterfaceError, InternalError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session
from sqlalchemy.pool import QueuePool

from app.db import pools
from app.db.pools import SETTING, TooManyWriters, WriterTurns
from app.errors import Unavailable
from app.settings import SettingError

CLOSE_SECONDS = 1.0
MIGRATION_LOCK = 0x0571_4A70  # an arbitrary number that must never change
NOW = {
    "sqlite": "(julianday('now') - 2440587.5) * 86400.0",
    "postgresql": "extract(epoch from clock_timestamp())::double precision",
}
AWAY = (OperationalError, InterfaceError, PoolTimeout, TooManyWriters)
ENDED_AS_IDLE = "25P03"  # PostgreSQL's error code after IDLE_SECONDS; other internal errors are program defects
UNKNOWN_STATES = ("42P01", "42703")  # PostgreSQL's error codes for a missing table or column
UNKNOWN_WORDS = ("no such table", "no such column")  # SQLite's messages
FULL_STATES = ("53100", "SQLITE_FULL", "SQLITE_IOERR_SHMSIZE")  # PostgreSQL's error code, and SQLite's names
FULL = "the disk of the database is full, so nothing was changed; try again when there is free space"
FULL_RETRY_SECONDS = 60.0
NO_ANSWER = "the database is not responding; try again in a moment"
OUTDATED = "the database does not have the tables of this release; run: ostinato migrate"


class DatabaseUnavailable(Unavailable):
    """The database does not respond, or is too busy."""

    code = "database_unavailable"


class DatabaseFull(DatabaseUnavailable):
    """The database cannot write because its disk is full. Reads may still succeed."""

    code = "database_full"


class DatabaseOutdated(DatabaseUnavailable):
    """The database responds, but its tables do not match this release."""

    code = "database_outdated"


def url_of(text_: str) -> URL:
    """Parse the database URL setting. `postgres://…` and `postgresql://…` use the driver psycopg 3.

    Raises SettingError if the URL is not valid, or if it names a database that is not supported.
    """
    try:
        url = make_url(text_)
    except (ArgumentError, ValueError):  # ValueError: the port is not a number
        raise SettingError(f"{SETTING} is not a valid URL; use sqlite:///path or postgresql://…") from None
    if url.drivername in ("postgres", "postgresql"):
        url = url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() not in NOW:
        raise SettingError(f"{SETTING} has the scheme {url.drivername!r}; use sqlite or postgresql")
    if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
        raise SettingError(
            f"{SETTING} must name a file, as in sqlite:///ostinato.db, because several programs share the database"
        )
    return url


class Database:
    """A database and its pool of connections; one instance per process. All methods are thread-safe.

    Every method raises DatabaseUnavailable if the database does not respond, and DatabaseOutdated if the database lacks
    tables or columns that this release needs.
    """

    def __init__(self, url: str | URL) -> None:
        self.url = url_of(url) if isinstance(url, str) else url
        self.engine, self.reader = pools.writers(self.url), pools.readers(self.url)
        self._turns = WriterTurns()

    @property
    def dialect(self) -> str:
        """Either "sqlite" or "postgresql"."""
        return self.url.get_backend_name()

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Open a session whose changes are committed at the end of the block, or rolled back if an exception is raised.

        On SQLite, the session holds the database's write lock from the beginning of the block. If too many transactions
        of this process are open, another one waits at most a second for its turn, and then fails; if too many are
        waiting, it fails immediately.
        """
        with (
            _translated_errors(),
            self._turns.turn(),
            Session(self.engine, expire_on_commit=False) as session,
            session.begin(),
        ):
            session.connection()  # begin the transaction and take the lock now, not at the first statement
            yield session

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a read-only session, which waits neither for writers nor for their connections."""
        with _translated_errors(), Session(self.reader, expire_on_commit=False) as session, session.begin():
            yield session

    def now(self, session: Session) -> float:
        """Return the seconds since the epoch according to the database's clock, which is the same for all processes.

        The time also advances within a transaction.
        """
        return float(session.scalar(select(literal_column(NOW[self.dialect]))) or 0.0)

    def migrate(self) -> None:
        """Create or upgrade the tables.

        If several processes call this at the same time, one migrates and the others wait.
        """
        config = _alembic()
        with _translated_errors(), self.engine.begin() as connection:
            if self.dialect == "postgresql":
                connection.execute(text("SET LOCAL lock_timeout = 0"))
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    def check_tables(self) -> None:
        """Raise DatabaseOutdated if the tables do not match this release."""
        with self.read() as session:
            revision = MigrationContext.configure(session.connection()).get_current_revision()
        if revision != ScriptDirectory.from_config(_alembic()).get_current_head():
            raise DatabaseOutdated(OUTDATED)

    def ping(self) -> None:
        """Raise DatabaseUnavailable if the database does not respond."""
        with self.read() as session:
            session.execute(text("SELECT 1"))

    def close(self) -> None:
        """Close the connections. Waits up to one second for queries that other threads are running."""
        deadline = time.monotonic() + CLOSE_SECONDS
        while self._in_use() and time.monotonic() < deadline:
            time.sleep(0.01)
        self.engine.dispose()
        self.reader.dispose()

    def _in_use(self) -> int:
        used = (engine.pool for engine in (self.engine, self.reader))
        return sum(pool.checkedout() for pool in used if isinstance(pool, QueuePool))


def reason(error: Exception) -> str:
    """Return a one-line reason for an outage, for operators only: it may contain addresses and user names."""
    cause = error.__cause__ or error
    return str(getattr(cause, "orig", None) or cause).strip().split("\n")[0]


def _alembic() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    return config


@contextmanager
def _translated_errors() -> Iterator[None]:
    try:
        yield
    except ProgrammingError as error:
        if _state(error) in UNKNOWN_STATES:
            raise DatabaseOutdated(OUTDATED) from error
        raise
    except InternalError as error:
        if _state(error) == ENDED_AS_IDLE:
            raise DatabaseUnavailable(NO_ANSWER, retry_after=1.0) from error
        raise
    except AWAY as error:
        if str(error.orig if isinstance(error, OperationalError) else "").startswith(UNKNOWN_WORDS):
            raise DatabaseOutdated(OUTDATED) from error
        if _state(error) in FULL_STATES:
            raise DatabaseFull(FULL, retry_after=FULL_RETRY_SECONDS) from error
        raise DatabaseUnavailable(NO_ANSWER, retry_after=1.0) from error


def _state(error: Exception) -> str | None:
    """Return PostgreSQL's code or SQLite's name for an error."""
    cause = getattr(error, "orig", None)
    return getattr(cause, "sqlstate", None) or getattr(cause, "sqlite_errorname", None)
