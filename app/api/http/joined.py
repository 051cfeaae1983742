"""Sends a reply's head together with the first piece of its body: one system call and one packet instead of two.

uvicorn writes the two parts separately. uvloop sends each part immediately, without waiting for the other.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle


class JoinedCycle(RequestResponseCycle):
    """Holds a reply's head back until the body follows or the event loop's current iteration ends."""

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start" and not self.response_started:
            self.transport = cast(asyncio.Transport, _Joining(self))
        await super().send(message)


class _Joining:
    """Replaces a reply's transport until the head has been sent."""

    __slots__ = ("_cycle", "_head", "_transport")

    def __init__(self, cycle: JoinedCycle) -> None:
        self._cycle, self._transport = cycle, cycle.transport
        self._head = b""

    def write(self, data: bytes) -> None:
        if self._head or self._cycle.transport is self._transport:
            self._send(data)
        else:
            self._head = data
            asyncio.get_running_loop().call_soon(self._release)

    def close(self) -> None:
        self._release()
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def _release(self) -> None:
        """Send the head alone, unless it has already been sent."""
        if self._head:
            self._send()

    def _send(self, *pieces: bytes) -> None:
        head, self._head = self._head, b""
        self._cycle.transport = self._transport
        if not self._transport.is_closing():  # uvloop raises an exception if the connection has been closed
            self._transport.writelines((head, *pieces))
