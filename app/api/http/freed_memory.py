"""Returns freed memory to the operating system after large requests, because glibc would otherwise keep it."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
from pathlib import Path

from app.api.http.background import BackgroundTask

EVERY_SECONDS = 5.0
LEAST = 32 * 2**20  # bytes by which the process must have grown since memory was last returned
log = logging.getLogger(__name__)


class FreedMemory:
    """Periodically returns freed memory to the operating system, if the memory of the API process has grown."""

    def __init__(self, every: float = EVERY_SECONDS) -> None:
        self._every = every
        self._smallest = 0
        self._task = BackgroundTask()

    def start(self) -> None:
        """Start the checks on the event loop that serves requests. Does nothing on systems without glibc or /proc."""
        if hasattr(ctypes.CDLL(None), "malloc_trim") and Path("/proc/self/statm").exists():
            self._task.start(self._repeat())

    async def close(self) -> None:
        await self._task.close()

    async def _repeat(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            if resident() - self._smallest > LEAST:
                await asyncio.to_thread(ctypes.CDLL(None).malloc_trim, 0)
                self._smallest = resident()


def resident() -> int:
    """Return the physical memory that this process uses, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
