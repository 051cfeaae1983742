"""A background task of an API process."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any


class BackgroundTask:
    """Runs a coroutine on the event loop that serves requests, from `start` to `close`."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Start the work. Call this on the event loop."""
        self._task = asyncio.get_running_loop().create_task(work)

    async def close(self) -> None:
        """Cancel the work, if it was started, and wait for its end."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
