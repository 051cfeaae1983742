"""uvicorn's HTTP protocol, changed so that HTTP/1.0 clients can read replies of unknown length."""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle


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
    """uvicorn's protocol, without chunked encoding for HTTP/1.0 clients."""

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        if self.cycle is not None and self.scope["http_version"] == "1.0":
            self.cycle.__class__ = UnchunkedCycle
