"""A queue for an engine's answers to one caller."""

from __future__ import annotations

import asyncio
from collections import deque

from app.wire import engine as wire

EngineAnswer = wire.Scored | wire.PackedScored | wire.Tokens | wire.Finished | wire.Failed


class Inbox:
    """A queue of answers in order of arrival, each with its request's tag.

    Only one task may read the inbox at a time.
    """

    __slots__ = ("_items", "_waiter")

    def __init__(self) -> None:
        self._items: deque[tuple[int, EngineAnswer]] = deque()
        self._waiter: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        return len(self._items)

    def put(self, tag: int, answer: EngineAnswer) -> None:
        """Append an answer and wake the reader. Never blocks, because an inbox has no size limit."""
        self._items.append((tag, answer))
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def get(self) -> tuple[int, EngineAnswer]:
        """Remove and return the next answer. If the inbox is empty, wait until an answer arrives."""
        if not self._items:
            await self._filled()
        return self._items.popleft()

    async def peek(self) -> EngineAnswer:
        """Return the next answer without removing it. If the inbox is empty, wait until an answer arrives."""
        await self._filled()
        return self._items[0][1]

    async def _filled(self) -> None:
        while not self._items:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
