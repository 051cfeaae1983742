"""Middleware for every request: request ids, timing, the access log, unexpected errors, and limits on body sizes.

The classes are plain ASGI middleware, because Starlette's `BaseHTTPMiddleware` costs more time per request.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.http.errors import IN_PARTS, InternalError, Stopping, send_error
from app.errors import InvalidRequest, OstinatoError, TooLarge, UnsupportedMedia
from app.telemetry import http_requests, request_id

REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,64}")
MULTIPART_SLACK = 2**20  # bytes allowed for the fields and boundaries around a file
BODY_HEADERS = frozenset((b"content-type", b"content-length", b"content-encoding"))
MULTIPART = re.compile(rb"\s*multipart/form-data\s*(;|$)", re.IGNORECASE)
QUIET = ("/livez", "/readyz", "/health", "/ping", "/metrics")  # polled frequently, so logged only at debug level
METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))  # all other methods share a label

log = logging.getLogger("ostinato.access")
faults = logging.getLogger("ostinato.faults")


class Envelope:
    """The outermost middleware: gives the request an id, times and logs it, and answers unexpected errors with 500."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        id_ = _request_id_of(scope)
        token = request_id.set(id_)
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                spent = (time.perf_counter() - began) * 1000
                message["headers"] = [
                    *message["headers"],
                    (b"x-request-id", id_.encode()),
                    (b"x-total-time", b"%.3f" % spent),
                    (b"x-content-type-options", b"nosniff"),
                ]
            await send(message)

        try:
            await self.app(scope, receive, send_with_headers)
        except asyncio.CancelledError:
            if status or (task := asyncio.current_task()) is None:
                raise
            # uvicorn cancels the requests that are still open at the end of the drain time. No reply has started
            # for this request, so an error reply can still state the reason.
            task.uncancel()
            await send_error(scope, send_with_headers, Stopping())
        except Exception:
            faults.exception("%s %s failed", scope["method"], ascii(scope["path"][:200]))
            if status:  # the reply has started, so the error can be signaled only by closing the connection
                raise
            await send_error(scope, send_with_headers, InternalError())
        finally:
            _record(scope, status, began)
            request_id.reset(token)


def _request_id_of(scope: Scope) -> str:
    """The client's `x-request-id` if it is well-formed, otherwise a new id."""
    for key, value in scope["headers"]:
        if key == b"x-request-id" and REQUEST_ID.fullmatch(value):
            return str(value.decode("ascii"))
    return f"req-{uuid.uuid4().hex}"


def _record(scope: Scope, status: int, began: float) -> None:
    """Count the reply and write the access log."""
    # The label is the route's template, because the path would create a time series per model name.
    method, route = scope["method"], getattr(scope.get("route"), "path", "unmatched")
    http_requests.labels(method if method in METHODS else "other", route, status).inc()
    level = logging.DEBUG if scope["path"] in QUIET else logging.INFO
    if log.isEnabledFor(level):
        spent = (time.perf_counter() - began) * 1000
        principal = scope.get("principal", "-")
        data = {"method": method, "path": scope["path"], "status": status, "ms": round(spent, 2), "by": principal}
        log.log(level, "%s %s %s %.1f ms %s", method, scope["path"], status, spent, principal, extra={"data": data})


class BodyLimit:
    """Rejects bodies with a content encoding, and bodies whose Content-Length or actual size is too large."""

    def __init__(self, app: ASGIApp, max_body: int, max_upload: int) -> None:
        self.app = app
        self.max_body, self.max_upload = max_body, max_upload

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            limit, hint = self._limit(scope)
        except OstinatoError as error:
            await send_error(scope, send, error)
            return
        await self.app(scope, _limited(receive, limit, hint), send)

    def _limit(self, scope: Scope) -> tuple[int, str]:
        """Return the maximum size of the body in bytes and a hint for the error message.

        Raises InvalidRequest, UnsupportedMedia or TooLarge if the headers do not permit the body.
        """
        sent: dict[bytes, bytes] = {}
        for key, value in scope["headers"]:
            if key in BODY_HEADERS and sent.setdefault(key, value) is not value:
                # Otherwise, the route and this check might use different values of the header.
                raise InvalidRequest(f"{key.decode()} is sent twice; send it once")
        if sent.get(b"content-encoding", b"").lower() not in (b"identity", b""):
            raise UnsupportedMedia("content-encoding is not supported; send the request body uncompressed")
        limit, hint = self.max_body, ""
        if MULTIPART.match(sent.get(b"content-type", b"")):
            limit = self.max_upload + MULTIPART_SLACK
            hint = f"; {IN_PARTS}" if scope["path"] == "/v1/files" else ""
        length = sent.get(b"content-length", b"0")
        if not length.isdigit():
            raise InvalidRequest("content-length is not a number")
        if int(length) > limit:
            raise _too_large(limit, hint)
        return limit, hint


def _limited(receive: Receive, limit: int, hint: str) -> Receive:
    """Wrap `receive` to raise TooLarge after more than `limit` bytes, because Content-Length may be missing."""
    left = limit

    async def receive_limited() -> Message:
        nonlocal left
        message = await receive()
        if message["type"] == "http.request":
            left -= len(message.get("body", b""))
            if left < 0:
                raise _too_large(limit, hint)
        return message

    return receive_limited


def _too_large(limit: int, hint: str) -> TooLarge:
    return TooLarge(f"the request body is larger than {limit} bytes, the limit of this route{hint}")
