"""uvicorn's HTTP protocol, extended: reports lost connections, and lets HTTP/1.0 clients read any reply."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

CONNECTION = "ostinato.connection"  # the key of the connection's `Protocol` in the scope of a request


class UnchunkedCycle(RequestResponseCycle):
    """A reply to an HTTP/1.0 client. If the length is unknown, closing the connection marks the end of the reply."""

    lengthless = False

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.lengthless = all(name.lower() != b"content-length" for name, _ in message.get("headers", ()))
            if self.lengthless:
                self.keep_alive = False
                self.chunked_encoding = False
        elif self.lengthless:
            # uvicorn compares each piece with the number of bytes still expected. The total is unknown here, so the
            # expected number is set to the size of the piece.
            self.expected_content_length = len(message.get("body", b""))
        await super().send(message)


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol, without chunked encoding for HTTP/1.0 clients, and with a callback for a lost connection."""

    _lost: Callable[[], None] | None = None

    def on_lost(self, callback: Callable[[], None] | None) -> None:
        """Call `callback` when the connection is lost, or soon if it is lost already. None removes the callback.

        A connection handles one request at a time, so there is at most one callback.
        """
        self._lost = callback
        if callback is not None and self not in self.connections:
            self.loop.call_soon(self._report_loss)

    def on_headers_complete(self) -> None:
        cast(dict[str, Any], self.scope)[CONNECTION] = self
        super().on_headers_complete()
        if self.cycle is not None and self.scope["http_version"] == "1.0":
            self.cycle.__class__ = UnchunkedCycle

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._report_loss()

    def _report_loss(self) -> None:
        if self._lost is not None:
            self._lost()
