"""Cancels the work on a request when its client disconnects."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from fastapi import Request
from starlette.types import Receive

from app.api.http.errors import ClientGone
from app.telemetry import cancelled

T = TypeVar("T")
UNWATCHED = 0.02  # seconds before the connection is watched; most requests end sooner and do not need a task


async def disconnected(receive: Receive) -> None:
    """Return when the client has disconnected. The request body must have been read."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def attended(request: Request, work: Awaitable[T]) -> T:
    """Await `work` and return its result. If the client disconnects, cancel `work` and raise ClientGone."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    watchers: list[asyncio.Task[None]] = []
    client_left = False

    async def watch() -> None:
        nonlocal client_left
        await disconnected(request.receive)
        client_left = True
        task.cancel()

    timer = loop.call_later(UNWATCHED, lambda: watchers.append(loop.create_task(watch())))
    try:
        return await work
    except asyncio.CancelledError:
        if not client_left:  # cancelled by the server, not by `watch`
            raise
        task.uncancel()  # the cancellation is handled here and must not affect what the task does next
        cancelled.labels("waiting").inc()
        raise ClientGone from None
    finally:
        timer.cancel()
        for watcher in watchers:
            watcher.cancel()
