"""uvicorn's HTTP protocol, with replies of unknown length that an HTTP/1.0 client can read."""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle


class UnchunkedCycle(RequestResponseCycle):
    """A reply to an HTTP/1.0 client. Without a length it ends with the connection, because HTTP/1.0 has no chunks."""

    lengthless = False

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.lengthless = all(name.lower() != b"content-length" for name, _ in message.get("headers", ()))
            if self.lengthless:
                self.keep_alive = False
                self.chunked_encoding = False
        elif self.lengthless:
            # uvicorn counts what is left of a Content-Length; without one, each piece is all that is expected.
            self.expected_content_length = len(message.get("body", b""))
        await super().send(message)


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol, which sends no chunks to HTTP/1.0 clients."""

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        if self.cycle is not None and self.scope["http_version"] == "1.0":
            self.cycle.__class__ = UnchunkedCycle
