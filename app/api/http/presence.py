"""Cancels the work on a request when its client disconnects."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

from fastapi import Request
from starlette.types import Receive
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.api.http.errors import ClientGone
from app.telemetry import cancelled

T = TypeVar("T")
CONNECTION = "ostinato.connection"  # the key of the connection in the scope of a request


class WatchedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with a callback for a lost connection."""

    _lost: Callable[[], None] | None = None

    def on_lost(self, callback: Callable[[], None] | None) -> None:
        """Call `callback` when the connection is lost. If the connection is already lost, call `callback` soon.

        None removes the callback. A connection handles one request at a time, so there is at most one callback.
        """
        self._lost = callback
        if callback is not None and self not in self.connections:
            self.loop.call_soon(self._report_loss)

    def on_headers_complete(self) -> None:
        cast(dict[str, Any], self.scope)[CONNECTION] = self
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._report_loss()

    def _report_loss(self) -> None:
        if self._lost is not None:
            self._lost()


async def disconnected(receive: Receive) -> None:
    """Return once the client has disconnected. The request body must already have been read."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def attended(request: Request, work: Awaitable[T], stage: str = "waiting") -> T:
    """Await `work` and return its result. If the client disconnects, cancel `work` and raise ClientGone.

    `stage` is the stage under which the metric of cancelled requests counts the client.

    Uses a callback on the connection, because waiting for ASGI's `http.disconnect` would need a task per request.
    """
    connection: WatchedProtocol | None = request.scope.get(CONNECTION)
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
        cancelled.labels(stage).inc()
        raise ClientGone from None
    finally:
        connection.on_lost(None)
