"""Collects the changes that clients make, and writes them to the audit log in the background."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque

import msgspec

from app.db import audit
from app.db.audit import Change
from app.db.database import Database, DatabaseUnavailable

TOGETHER_SECONDS = 0.2  # how long a change waits, so that several changes are written together
RETRY_SECONDS = 1.0
MOST_WAITING = 10_000  # maximum number of changes that wait for the database
PATH_LIMIT, SUBJECT_LIMIT = 1024, 160  # characters
log = logging.getLogger(__name__)


class _Subject(msgspec.Struct):
    id: str = ""


class AuditTrail:
    """The changes that clients have made through this process and that have not been written yet.

    While no changes are pending, no timer wakes the process.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: deque[Change] = deque()
        self._arrived = asyncio.Event()
        self._open = True
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start to write changes in the background. Call this on the event loop that serves requests."""
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._repeat())

    async def close(self) -> None:
        """Write the pending changes, and end the background task."""
        self._open = False
        self._arrived.set()
        if self._task is not None:
            await self._task

    def add(self, principal: str, method: str, path: str, body: bytes, status: int, request_id: str) -> None:
        """Record a change. `body` is the body of the reply, from which the `id` of the changed object is read."""
        if len(self._waiting) >= MOST_WAITING:
            log.error("a change is missing from the audit log: request %s", request_id)
            return
        shown = path[:PATH_LIMIT].replace("\x00", "")
        change = Change(principal, method, shown, _subject(body), status, request_id, time.time())
        self._waiting.append(change)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._arrived.set)

    async def _repeat(self) -> None:
        while self._open:
            await self._arrived.wait()
            self._arrived.clear()
            await asyncio.sleep(TOGETHER_SECONDS if self._open else 0)
            if not await self._write() and self._open:
                await asyncio.sleep(RETRY_SECONDS)
                self._arrived.set()
        if not await self._write():  # changes that arrived during the last write
            log.error("%d changes are missing from the audit log", len(self._waiting))

    async def _write(self) -> bool:
        """Write the pending changes. Returns whether the database accepted them."""
        if not (changes := list(self._waiting)):
            return True
        try:
            await asyncio.to_thread(audit.append, self._database, changes)
        except DatabaseUnavailable:
            return False
        except Exception:  # for example a lost permission: the changes wait until an operator has restored it
            log.exception("the audit log cannot be written")
            return False
        for _ in changes:
            self._waiting.popleft()
        return True


def _subject(body: bytes) -> str:
    try:
        return msgspec.json.decode(body, type=_Subject).id[:SUBJECT_LIMIT].replace("\x00", "")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""  # the reply is not a JSON object, or its id is not a string
