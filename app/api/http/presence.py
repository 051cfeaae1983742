"""Cancels the work on a request when its client disconnects."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from fastapi import Request
from starlette.types import Receive

from app.api.http.errors import ClientGone
from app.api.http.protocol import CONNECTION, Protocol
from app.telemetry import cancelled

T = TypeVar("T")


async def disconnected(receive: Receive) -> None:
    """Return when the client has disconnected. The request body must have been read."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def attended(request: Request, work: Awaitable[T]) -> T:
    """Await `work` and return its result. If the client disconnects, cancel `work` and raise ClientGone.

    The connection calls back when it is lost. Waiting for ASGI's `http.disconnect` would need a task per request.
    """
    connection: Protocol | None = request.scope.get(CONNECTION)
    task = asyncio.current_task()
    if connection is None or task is None:
        return await work
    client_left = False

    def leave() -> None:
        nonlocal client_left
        client_left = True
        task.cancel()

    connection.on_lost(leave)
    try:
        return await work
    except asyncio.CancelledError:
        if not client_left:  # cancelled by the server, not by `leave`
            raise
        task.uncancel()  # the cancellation is handled here and must not affect what the task does next
        cancelled.labels("waiting").inc()
        raise ClientGone from None
    finally:
        connection.on_lost(None)
