"""Server-sent events: frames out, one after the other, as long as the client listens. Knows no dialect."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.api.http.errors import InternalError, Stopping, body_of
from app.api.http.presence import disconnected
from app.errors import OstinatoError
from app.telemetry import cancelled, request_failure

DONE = b"data: [DONE]\n\n"
PING = b": ping\n\n"
PING_SECONDS = 15.0
LAST_WORDS = 5.0  # seconds after its deadline in which a stream's end can still be read
# JSON leaves these as they are, and they end a line for `str.splitlines`, by which httpx's `iter_lines` and clients
# built on it read: an event that a model wrote one of them into would reach them in two halves
LINE_ENDS = [(end.encode(), f"\\u{ord(end):04x}".encode()) for end in "\x85\u2028\u2029"]

log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode


def json_line(value: object) -> bytes:
    """JSON that is one line to every reader."""
    data = _encode(value)
    if not data.isascii():
        for end, escape in LINE_ENDS:
            data = data.replace(end, escape)
    return data


def frame(value: object) -> bytes:
    return b"data: " + json_line(value) + b"\n\n"


def error_frame(error: OstinatoError) -> bytes:
    return frame(body_of(error))


class EventStream(Response):
    """An error in the middle becomes one last event before `end`; a client that leaves ends the work."""

    media_type = "text/event-stream"

    def __init__(
        self,
        frames: AsyncGenerator[bytes, None],
        headers: dict[str, str],
        until: float,
        render_error: Callable[[OstinatoError], bytes] = error_frame,
        end: bytes = DONE,
        close: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`until` (monotonic): when the work must have ended; who has not read its end soon after is given up.

        `close` gives back what `frames` stands on, also where nothing of it was ever read.
        """
        super().__init__(None, 200, {**headers, "cache-control": "no-cache", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self.frames, self.until = frames, until
        self.render_error, self.end, self.close = render_error, end, close
        self._gone = ""  # how the client left, for the metrics
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
            watcher.cancel()  # from here on the end of the connection is no news
            await send({"type": "http.response.body", "body": self.end, "more_body": False})
        except asyncio.CancelledError:
            task.uncancel()
            watcher.cancel()
            if self._gone:
                cancelled.labels(self._gone).inc()
            else:  # the server stops
                await send({"type": "http.response.body", "body": self._failed(Stopping()), "more_body": True})
                await send({"type": "http.response.body", "body": self.end, "more_body": False})
        finally:
            timer.cancel()
            watcher.cancel()
            await self.frames.aclose()
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
            log.exception("a stream failed")
            await send({"type": "http.response.body", "body": self._failed(InternalError()), "more_body": True})

    def _failed(self, error: OstinatoError) -> bytes:
        request_failure.labels(error.code).inc()
        return self.render_error(error)

    def _give_up(self, how: str, task: asyncio.Task[None]) -> None:
        self._gone = how
        task.cancel()

    async def _watch(self, receive: Receive, send: Send, task: asyncio.Task[None]) -> None:
        gone = asyncio.ensure_future(disconnected(receive))
        try:
            while not gone.done():
                before = self._sent
                await asyncio.wait({gone}, timeout=PING_SECONDS)
                if not gone.done() and self._sent == before:
                    await send({"type": "http.response.body", "body": PING, "more_body": True})
            self._give_up("streaming", task)
        finally:
            gone.cancel()
