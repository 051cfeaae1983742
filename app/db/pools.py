"""Connections to SQLite and PostgreSQL. Readers and writers have separate pools and wait briefly for locks."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL

from app.settings import PREFIX, SettingError

SETTING = f"{PREFIX}DATABASE_URL"
WRITE_LOCK_SECONDS = 10.0  # how long a writer waits for a lock
READ_LOCK_SECONDS = 2.0  # how long a reader waits for a lock; few operations lock out readers
CONNECTION_SECONDS = 10.0  # how long a thread waits for a free connection, or for a new one to be opened
IDLE_SECONDS = 15.0  # after this time, PostgreSQL ends the transaction of a frozen program and releases its locks
SIZE, OVERFLOW = 5, 15  # connections that each pool keeps open, and additional ones while all of these are in use
WRITERS, WAITING_WRITERS = 16, 8  # maximum numbers of write transactions in one process, and of threads that wait
TURN_SECONDS = 1.0  # how long a thread waits for its turn


class TooManyWriters(Exception):
    """Too many write transactions are open or waiting, probably for a lock held by another program."""


class WriterTurns:
    """Limits the number of threads that write or wait to write, so that threads remain for readers. Thread-safe."""

    def __init__(self) -> None:
        self._turns = threading.Semaphore(WRITERS)
        self._places = threading.Semaphore(WRITERS + WAITING_WRITERS)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait at most TURN_SECONDS for a turn. Raises TooManyWriters."""
        if not self._places.acquire(blocking=False):
            raise TooManyWriters
        try:
            if not self._turns.acquire(timeout=TURN_SECONDS):
                raise TooManyWriters
            try:
                yield
            finally:
                self._turns.release()
        finally:
            self._places.release()


def writers(url: URL) -> Engine:
    """Return the pool of connections that can write. On SQLite, a transaction takes the write lock at its beginning."""
    return _sqlite(url, WRITE_LOCK_SECONDS) if _is_sqlite(url) else _postgresql(url, WRITE_LOCK_SECONDS)


def readers(url: URL) -> Engine:
    """Return the pool of read-only connections. Writers never use connections from this pool."""
    engine = _sqlite(url, READ_LOCK_SECONDS) if _is_sqlite(url) else _postgresql(url, READ_LOCK_SECONDS)
    return engine.execution_options(postgresql_readonly=True, reads_only=True)


def _is_sqlite(url: URL) -> bool:
    return url.get_backend_name() == "sqlite"


def _postgresql(url: URL, lock_seconds: float) -> Engine:
    # Clients use UTF-8, regardless of the encoding of the database.
    arguments = {"client_encoding": "utf8", "connect_timeout": int(CONNECTION_SECONDS)}
    engine = create_engine(
        url,
        connect_args=arguments,
        pool_size=SIZE,
        max_overflow=OVERFLOW,
        pool_timeout=CONNECTION_SECONDS,
        pool_pre_ping=True,
    )

    def prepare(connection: Any, _record: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"SET idle_in_transaction_session_timeout = {int(IDLE_SECONDS * 1000)}")
            cursor.execute(f"SET lock_timeout = {int(lock_seconds * 1000)}")
        connection.commit()

    event.listen(engine, "connect", prepare)
    return engine


def _sqlite(url: URL, lock_seconds: float) -> Engine:
    folder = Path(url.database or "").expanduser().parent
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        message = f"{SETTING}: cannot create the folder {folder}: {error.strerror}; use another path"
        raise SettingError(message) from None
    arguments = {"timeout": lock_seconds}
    engine = create_engine(
        url, connect_args=arguments, pool_size=SIZE, max_overflow=OVERFLOW, pool_timeout=CONNECTION_SECONDS
    )
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # the driver must not open transactions, because `_begin` does
    _enter_wal(connection)
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = FULL")  # a job reported as ended stays ended after a power failure


def _enter_wal(connection: sqlite3.Connection) -> None:
    """Switch to write-ahead logging (WAL), in which readers do not wait for writers.

    SQLite ignores the busy timeout during the switch, which therefore fails if several programs switch a new file at
    the same time. If the switch fails, it is retried.
    """
    deadline = time.monotonic() + WRITE_LOCK_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").close()
            return
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _begin(connection: Connection) -> None:
    # IMMEDIATE takes the write lock at once. Without it, a transaction that reads first and writes later would fail
    # with SQLITE_BUSY, without waiting, if another transaction has written in between.
    reads_only: Any = connection.get_execution_options().get("reads_only", False)
    connection.exec_driver_sql(f"PRAGMA query_only = {'ON' if reads_only else 'OFF'}")
    connection.exec_driver_sql("BEGIN" if reads_only else "BEGIN IMMEDIATE")
