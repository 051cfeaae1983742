"""Collects the changes that clients make, and writes them to the audit log in the background."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from contextlib import suppress

import msgspec

from app.db import audit
from app.db.audit import Change
from app.db.database import Database, DatabaseUnavailable

EVERY_SECONDS = 0.2
MOST_WAITING = 10_000  # changes that wait for the database
PATH_LIMIT, SUBJECT_LIMIT = 1024, 160  # characters
log = logging.getLogger(__name__)


class _Subject(msgspec.Struct):
    id: str = ""


class AuditTrail:
    """The changes of one process that have not been written yet. Call all methods on the loop that serves requests."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: deque[Change] = deque()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._repeat())

    async def close(self) -> None:
        """Write the changes that are waiting, and stop."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await self._write()

    def add(self, principal: str, method: str, path: str, body: bytes, status: int, request_id: str) -> None:
        """Record a change. `body` is the reply, which contains the `id` of the changed object."""
        if len(self._waiting) >= MOST_WAITING:
            log.error("a change is missing from the audit log: request %s", request_id)
            return
        shown = path[:PATH_LIMIT].replace("\x00", "")
        change = Change(principal, method, shown, _subject(body), status, request_id, time.time())
        self._waiting.append(change)

    async def _repeat(self) -> None:
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            await self._write()

    async def _write(self) -> None:
        changes = list(self._waiting)
        if not changes:
            return
        try:
            await asyncio.shield(asyncio.to_thread(audit.append, self._database, changes))
        except DatabaseUnavailable:
            return  # try again later
        for _ in changes:
            self._waiting.popleft()


def _subject(body: bytes) -> str:
    try:
        return msgspec.json.decode(body, type=_Subject).id[:SUBJECT_LIMIT].replace("\x00", "")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""  # the reply has no id, or an id that is a number
