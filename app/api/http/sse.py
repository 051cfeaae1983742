"""Replies as server-sent events."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.api.http.dialects import error_body
from app.api.http.errors import InternalError, Stopping
from app.api.http.presence import disconnected
from app.errors import OstinatoError
from app.telemetry import cancelled, request_failure

DONE = b"data: [DONE]\n\n"
PING = b": ping\n\n"
PING_SECONDS = 15.0
LAST_WORDS = 5.0  # seconds for which a stream may stay open after its deadline, so that the client can read the end
# Line ends that JSON does not escape. httpx's `iter_lines`, which clients such as OpenAI's use, ends a line at each of
# them, as `str.splitlines` does. If generated text contained one of them, these clients would split an event in two.
LINE_ENDS = [(end.encode(), f"\\u{ord(end):04x}".encode()) for end in "\x85\u2028\u2029"]

log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode


def json_line(value: object) -> bytes:
    """Encode a value as JSON that every client treats as one line."""
    data = _encode(value)
    if not data.isascii():
        for end, escape in LINE_ENDS:
            data = data.replace(end, escape)
    return data


def frame(value: object) -> bytes:
    """Encode one event with JSON data."""
    return b"data: " + json_line(value) + b"\n\n"


def error_frame(error: OstinatoError) -> bytes:
    """Encode an error as an event, in OpenAI's format."""
    return frame(error_body(error))


class EventStream(Response):
    """A reply that streams server-sent events.

    An error during the stream is sent as an event, followed by `end`. If the client disconnects or stops reading,
    `frames` is closed. `render_error` renders an error as an event in the format of the route's dialect.
    """

    def __init__(
        self,
        frames: AsyncGenerator[bytes, None],
        headers: dict[str, str],
        until: float,
        render_error: Callable[[OstinatoError], bytes] = error_frame,
        end: bytes = DONE,
        close: Callable[[], Awaitable[None]] | None = None,
        media_type: str = "text/event-stream",
        ping: bytes = PING,
        left: str = "streaming",
    ) -> None:
        """`until`, a monotonic time, is the deadline for the work; the stream is aborted `LAST_WORDS` seconds later.

        While the stream is idle, `ping` is sent so that proxies keep the connection open. An empty `ping` is not sent.
        `close` releases the resources of `frames`. `close` is called even if `frames` was never started, because a
        generator runs its `finally` blocks only if it has been started. `left` is the stage under which the metric of
        cancelled requests counts a client that disconnects.
        """
        self.media_type, self._ping, self._left = media_type, ping, left
        super().__init__(None, 200, {**headers, "cache-control": "no-cache", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self.frames, self.until = frames, until
        self.render_error, self.end, self.close = render_error, end, close
        self._gone = ""  # the metric label with the reason why the stream was aborted
        self._sent = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        task = asyncio.current_task()
        assert task is not None
        loop = asyncio.get_running_loop()
        watcher = loop.create_task(self._watch(receive, send, task))
        left = max(0.0, self.until - time.monotonic()) + LAST_WORDS
        timer = loop.call_later(left, self._give_up, "stalled", task)
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await self._send_all(send)
            watcher.cancel()  # the work is done, so a client that disconnects now is not counted as cancelled
            await send({"type": "http.response.body", "body": self.end, "more_body": False})
        except asyncio.CancelledError:
            task.uncancel()  # the cancellation is handled here: the end of the stream may still be sent
            watcher.cancel()
            if self._gone:
                cancelled.labels(self._gone).inc()
            else:  # uvicorn cancels open requests at the end of the drain time
                await send({"type": "http.response.body", "body": self._failed(Stopping()), "more_body": True})
                await send({"type": "http.response.body", "body": self.end, "more_body": False})
        finally:
            timer.cancel()
            watcher.cancel()
            await self.frames.aclose()  # ends the work that produces the stream, even if the stream is incomplete
            if self.close is not None:
                await self.close()

    async def _send_all(self, send: Send) -> None:
        try:
            async for piece in self.frames:
                self._sent += 1
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        except OstinatoError as error:
            await send({"type": "http.response.body", "body": self._failed(error), "more_body": True})
        except Exception:
            log.exception("an event stream failed")
            await send({"type": "http.response.body", "body": self._failed(InternalError()), "more_body": True})

    def _failed(self, error: OstinatoError) -> bytes:
        request_failure.labels(error.code).inc()
        return self.render_error(error)

    def _give_up(self, reason: str, task: asyncio.Task[None]) -> None:
        self._gone = reason
        task.cancel()

    async def _watch(self, receive: Receive, send: Send, task: asyncio.Task[None]) -> None:
        """Abort the stream if the client disconnects.

        Send `ping` while the stream is idle, so that proxies keep the connection open.
        """
        leaving = asyncio.ensure_future(disconnected(receive))
        try:
            while not leaving.done():
                before = self._sent
                await asyncio.wait({leaving}, timeout=PING_SECONDS)
                if self._ping and not leaving.done() and self._sent == before:
                    await send({"type": "http.response.body", "body": self._ping, "more_body": True})
            self._give_up(self._left, task)
        finally:
            leaving.cancel()
