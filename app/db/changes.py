"""Detects whether a database has changed, so that queries are repeated only after a change.

`Changes.mark` is about 100 times as fast as a query through SQLAlchemy's ORM.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, ParamSpec, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from app.db.database import Database

P = ParamSpec("P")
T = TypeVar("T")
REMEMBERED = 4096  # maximum number of results of one function


class Changes:
    """Computes the mark of a database: a value that changes with every commit by another connection. Thread-safe."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._connections = 0  # number opened so far; each connection counts changes separately
        self._file: tuple[int, int] | None = None  # the device and inode of the file that `_connection` has opened

    def mark(self) -> Hashable | None:
        """Return the current mark, or None if it cannot be determined."""
        try:
            return self._sqlite() if self._database.dialect == "sqlite" else self._postgresql()
        except (OSError, sqlite3.Error, SQLAlchemyError):
            self.close()
            return None

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = self._file = None

    def _sqlite(self) -> Hashable:
        path = str(self._database.url.database)
        status = os.stat(path)
        file = status.st_dev, status.st_ino
        with self._lock:
            if self._connection is None or file != self._file:  # the file may have been replaced by a backup
                self._connection, self._file = sqlite3.connect(path, check_same_thread=False), file
                self._connections += 1
            [version] = self._connection.execute("PRAGMA data_version").fetchone()
            return file, self._connections, version

    def _postgresql(self) -> Hashable:
        # A snapshot identifies the transactions whose changes are visible, so it differs after every commit.
        with self._database.reader.connect() as connection:
            return str(connection.exec_driver_sql("SELECT pg_current_snapshot()").scalar())


class Remembered(Generic[P, T]):
    """A function that reads the database. The function's results are reused until the database changes.

    The results must depend only on the database and the arguments, which must be hashable.
    """

    def __init__(self, function: Callable[P, T], mark: Callable[[], Hashable | None]) -> None:
        self._function, self._mark = function, mark
        self._results: OrderedDict[Hashable, tuple[Hashable, T]] = OrderedDict()

    def __call__(self, *args: P.args, **named: P.kwargs) -> T:
        mark = self._mark()  # read before the function runs, so that the next call notices commits during the run
        key = (args, *named.items())
        entry = self._results.get(key)
        if mark is not None and entry is not None and entry[0] == mark:
            return entry[1]
        result = self._function(*args, **named)
        self._results[key] = mark, result
        while len(self._results) > REMEMBERED:
            with contextlib.suppress(KeyError):  # another thread may have removed the last one
                self._results.popitem(last=False)
        return result
