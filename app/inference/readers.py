"""A thread pool that parses and tokenizes long input. The amount of waiting input is limited."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from app.errors import Overloaded
from app.telemetry import rejected

T = TypeVar("T")
THREADS = 2


class Readers:
    """A thread pool that limits the total size of the input that is being read or is waiting for a thread.

    `room` is the limit, in characters, ids or numbers. Input that would exceed it is rejected.
    """

    def __init__(self, room: int) -> None:
        self.room = room
        self.held = 0
        self._lock = threading.Lock()  # worker threads release room, even if the caller no longer waits
        self._threads = ThreadPoolExecutor(THREADS, "tokenize")

    async def run(self, size: int, work: Callable[[], T]) -> T:
        """Run `work` in a thread. Raises Overloaded if there is no room; an idle pool accepts input of any size."""
        with self._lock:
            if self.held and self.held + size > self.room:
                rejected.labels("long_inputs").inc()
                raise Overloaded("too many long inputs are waiting; try again in a moment", retry_after=1.0)
            self.held += size
        reading = self._threads.submit(work)
        reading.add_done_callback(lambda _: self._give_back(size))
        return await asyncio.wrap_future(reading)

    def _give_back(self, size: int) -> None:
        with self._lock:
            self.held -= size

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
