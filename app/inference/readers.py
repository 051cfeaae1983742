"""A thread pool that parses and tokenizes long input. The amount of waiting input is limited."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

from app.db.ownership import LOCAL
from app.errors import Overloaded
from app.telemetry import rejected
from app.tokenization import bounds

T = TypeVar("T")
THREADS = 2


class Readers:
    """A thread pool that limits the total size of the input being read or waiting for a thread.

    `room` is the limit, in characters, ids or numbers. Input that would exceed the limit is rejected. Each principal
    uses at most one thread at a time, so that another thread remains for other principals. If no API keys are
    configured, all requests have the same principal, which may use all threads.
    """

    def __init__(self, room: int) -> None:
        self.room = room
        self.load = 0
        self._threads = ThreadPoolExecutor(THREADS, "tokenize")
        self._turns: dict[str, asyncio.Lock] = {}
        self._waiting: Counter[str] = Counter()  # requests by principal
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self, size: int, work: Callable[[], T], principal: str = LOCAL) -> T:
        """Run `work` in a thread. Raises Overloaded if the limit is exceeded; an idle pool accepts input of any size.

        If the caller is cancelled, `work` keeps its thread until it finishes or checks `bounds.abandoned`.
        """
        if self.load and self.load + size > self.room:
            rejected.labels("long_inputs").inc()
            raise Overloaded("too many long inputs are waiting; try again in a moment", retry_after=1.0)
        self.load += size
        gone = threading.Event()
        task = asyncio.create_task(self._read(size, partial(_unless_gone, gone, work), principal))
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        try:
            return await asyncio.shield(task)
        finally:
            gone.set()

    async def _read(self, size: int, work: Callable[[], T], principal: str) -> T:
        try:
            async with self._turn(principal):
                return await asyncio.wrap_future(self._threads.submit(contextvars.copy_context().run, work))
        finally:
            self.load -= size

    @asynccontextmanager
    async def _turn(self, principal: str) -> AsyncIterator[None]:
        """Wait until no other input of the principal is being read."""
        if principal == LOCAL:
            yield
            return
        self._waiting[principal] += 1
        try:
            async with self._turns.setdefault(principal, asyncio.Lock()):
                yield
        finally:
            self._waiting[principal] -= 1
            if not self._waiting[principal]:
                del self._waiting[principal], self._turns[principal]

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # so that asyncio does not log the exception if the caller is gone

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _unless_gone(gone: threading.Event, work: Callable[[], T]) -> T:
    if gone.is_set():
        raise bounds.Abandoned
    bounds.abandoned.set(gone.is_set)
    return work()
