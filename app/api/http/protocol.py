"""uvicorn's HTTP protocol with limits on the size and duration of requests, and with support for HTTP/1.0 clients.

All limits apply before the API key is checked, so a client without a key cannot tie up the process.
"""

from __future__ import annotations

from asyncio import TimerHandle, Transport
from typing import Any, ClassVar, NoReturn

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from app.api.http.auth import HEALTH
from app.api.http.connections import ConnectionLimits, ConnectionTable
from app.api.http.dialects import error_body
from app.api.http.joined import JoinedCycle
from app.api.http.presence import WatchedProtocol
from app.errors import InvalidRequest, OstinatoError, Unavailable
from app.telemetry import request_failure

HEAD_BYTES = 64 * 1024  # maximum size of the request line and the headers
HEADERS = 100  # maximum number of headers
HEAD_SECONDS = 10.0  # time limit for the request line and the headers, from when a client connects or begins a request
BODY_SECONDS, BODY_BYTES = 15.0, 4096  # in each period of BODY_SECONDS, a client must send BODY_BYTES of a body
FRAMING = 8  # bytes of chunk headers that a client may send per byte of a request body, besides HEAD_BYTES
WRITE_SECONDS = 60.0  # how long a client that does not read may block a reply before its connection is aborted


class HeadTooLarge(OstinatoError):
    """The request line, headers, trailers or chunk headers are too large, or there are too many headers."""

    status, code = 431, "headers_too_large"


class TooSlow(OstinatoError):
    """The request did not arrive in time."""

    status, code = 408, "request_timeout"


class TooManyConnections(Unavailable):
    """All connections are in use. This connection may request only health routes."""

    code = "too_many_connections"

    def __init__(self) -> None:
        super().__init__("too many connections are open; try again in a moment", retry_after=1.0)


class UnchunkedCycle(RequestResponseCycle):
    """A reply to an HTTP/1.0 client. If the reply's length is unknown, closing the connection marks its end."""

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


class BoundedProtocol(WatchedProtocol):
    """uvicorn's protocol with limits, and without chunked encoding for HTTP/1.0 clients.

    `bounded` creates a subclass for each server and sets its `table`.
    """

    table: ClassVar[ConnectionTable]
    _timer: TimerHandle | None = None  # ends the connection if the head or the body does not arrive in time
    _write_timer: TimerHandle | None = None
    _in_head = True  # whether the next byte belongs to the head of a request
    _head_bytes = 0  # bytes of an unfinished head
    _messages = 0  # number of requests that have arrived completely
    _body_bytes = 0  # bytes of the body that have arrived
    _raw_bytes = 0  # bytes that have arrived after the head: the body, chunk headers and trailers
    _reserved = False  # whether the connection may request only the health routes
    _refusal: OstinatoError | None = None  # why the parser was stopped
    _last_reply: OstinatoError | None = None  # the refusal that is sent once the earlier requests have been answered

    # --- the connection -----------------------------------------------------------------------------------------

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._reserved = not self.table.add(self, self.client[0] if self.client else "")
        self._timer = self.loop.call_later(HEAD_SECONDS, self._refuse_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self._stop_write_timer()
        self.table.remove(self)
        super().connection_lost(exc)

    def evict(self) -> None:
        """Close the connection immediately, to make room for another one."""
        self.transport.abort()

    # --- reading ------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        for start in range(0, len(data), HEAD_BYTES):  # in pieces, so that a head in a large block is limited too
            if self._is_ending():
                return
            piece = data[start : start + HEAD_BYTES]
            self._read_head(piece) if self._in_head else self._read_body(piece)
        if not self._is_ending():
            self._watch()

    def _is_ending(self) -> bool:
        """Whether further data is ignored, because a request has been refused or the connection is closing."""
        return self._last_reply is not None or self.transport.is_closing()

    def _read_body(self, data: bytes) -> None:
        super().data_received(data)
        self._raw_bytes += len(data)
        if not self._in_head and self._raw_bytes > HEAD_BYTES + (1 + FRAMING) * self._body_bytes:
            self._refuse(HeadTooLarge("the trailers of the request body are too large, or its chunks are too small"))

    def _read_head(self, piece: bytes) -> None:
        messages = self._messages
        super().data_received(piece)
        if not self._in_head or messages != self._messages:
            self._head_bytes = 0
            return
        self._head_bytes += len(piece)
        if self._head_bytes >= HEAD_BYTES:
            self._refuse(HeadTooLarge(f"the request line and the headers may have at most {HEAD_BYTES} bytes"))

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self.headers) >= HEADERS:
            self._reject(HeadTooLarge(f"a request may have at most {HEADERS} headers"))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._reserved and self.url.partition(b"?")[0].decode("latin-1") not in HEALTH:
            self._reject(TooManyConnections())
        self._in_head, self._body_bytes, self._raw_bytes = False, 0, 0
        self._stop_timer()
        self.table.busy(self)
        super().on_headers_complete()
        if self.cycle is not None:
            self.cycle.__class__ = UnchunkedCycle if self.scope["http_version"] == "1.0" else JoinedCycle
        if self.cycle is not None and self._reserved:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_head = True
        self._messages += 1
        super().on_message_complete()

    def on_response_complete(self) -> None:
        is_last = not self.pipeline
        super().on_response_complete()  # starts the next request of the pipeline
        if self.cycle is None or self.cycle.response_complete:
            self.table.idle(self)
        if is_last and self._last_reply is not None:  # after the reply, which `JoinedCycle` may not have sent yet
            self.loop.call_soon(self._send_refusal, self._last_reply)

    # --- time limits --------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Start a timer if a request has been received only in part; stop the timer if no part is missing."""
        if self._in_head and not self._head_bytes:
            self._stop_timer()
        elif self._timer is None:
            self._start_timer()

    def _start_timer(self) -> None:
        if self._in_head:
            self._timer = self.loop.call_later(HEAD_SECONDS, self._refuse_slow)
        else:
            self._timer = self.loop.call_later(BODY_SECONDS, self._check_progress, self._messages, self._body_bytes)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check_progress(self, message: int, body_bytes: int) -> None:
        """Refuse the rest of a body that arrives too slowly, unless the service itself has paused reading."""
        self._timer = None
        slow = message == self._messages and self._body_bytes - body_bytes < BODY_BYTES
        if slow and not self.flow.read_paused:
            self._refuse_slow()
        else:
            self._watch()

    def _refuse_slow(self) -> None:
        self._timer = None
        if self._in_head and not self._head_bytes:
            self.transport.close()  # no request has begun, so no reply is needed
        elif self.flow.read_paused:  # the request waits for the reply to an earlier one
            self._watch()
        else:
            self._refuse(TooSlow("the request did not arrive in time; send it again"))

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._write_timer is None:
            self._write_timer = self.loop.call_later(WRITE_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        self._stop_write_timer()
        super().resume_writing()

    def _stop_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    # --- refusals -----------------------------------------------------------------------------------------------

    def _reject(self, error: OstinatoError) -> NoReturn:
        """Stop the parser, which then calls `send_400_response`."""
        self._refusal = error
        raise error

    def send_400_response(self, msg: str) -> None:
        """Refuse a request that the parser has rejected."""
        self._refuse(self._refusal or InvalidRequest("the request is not valid HTTP", code="invalid_http"))

    def _refuse(self, error: OstinatoError) -> None:
        """Answer the request that is being read with an error, and close the connection.

        If earlier requests of the connection have not been answered yet, the error is sent after their replies. If the
        reply to the refused request has already started, the connection is aborted instead.
        """
        if self._is_ending():
            return
        self._stop_timer()
        request_failure.labels(error.code).inc()
        # Until the head of a request is complete, `cycle` belongs to the request before it.
        waiting = [entry for entry in self.pipeline if entry[0] is self.cycle and not self._in_head]
        if waiting:
            self.pipeline.remove(waiting[0])
        if waiting or (self._in_head and self.cycle is not None and not self.cycle.response_complete):
            self._last_reply = error
        elif self.cycle is not None and self.cycle.response_started and not self._in_head:
            self.transport.abort()
        else:
            self._send_refusal(error)

    def _send_refusal(self, error: OstinatoError) -> None:
        if self.transport.is_closing():
            return
        body = msgspec.json.encode(error_body(error))
        head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n" % len(body)
        retry = b"retry-after: 1\r\n" if error.retry_after is not None else b""
        self.transport.write(STATUS_LINE[error.status] + head + retry + b"\r\n" + body)
        self.transport.close()


def bounded(limits: ConnectionLimits) -> type[BoundedProtocol]:
    """Return the protocol class for one server, with a table of its connections."""

    class Protocol(BoundedProtocol):
        table = ConnectionTable(limits)

    return Protocol
