"""The middleware for all requests: request ids, timing, authentication, body size limits, metrics and the access log.

The middleware is plain ASGI middleware, because Starlette's `BaseHTTPMiddleware` is slower. The middleware is a single
layer, because each additional layer would add a coroutine and a closure per request.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from functools import cache

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.http.access_log import AccessLog
from app.api.http.auth import HEALTH, Authentication
from app.api.http.browsers import cors
from app.api.http.errors import InternalError, Stopping, send_error
from app.api.http.head import as_get
from app.api.http.headers import index_of
from app.api.http.limits import BodyLimits
from app.api.http.rates import RequestRates
from app.api.http.replies import new_id
from app.api.http.scopes import READS, is_audited
from app.errors import OstinatoError
from app.metrics import Counter
from app.settings import Settings
from app.telemetry import http_requests, request_id

REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,64}")
QUIET = HEALTH | {"/metrics"}  # polled often: logged at debug level
METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))  # others share one metric label
SHORT = 16 * 1024  # maximum size in bytes of a body that is kept, to read the id of the changed object from it
NOSNIFF = (b"x-content-type-options", b"nosniff")

faults = logging.getLogger("ostinato.faults")


class Exchange:
    """A request and its reply in the middleware. `send` adds the headers that all replies have."""

    __slots__ = ("_send", "began", "body", "id", "status")

    def __init__(self, scope: Scope, send: Send) -> None:
        self._send = send
        self.began = time.perf_counter()
        self.id = _request_id_of(scope)
        self.status = 0  # the reply's status, once the reply has started
        self.body = b""  # the last part of the reply's body, if it is short

    @property
    def milliseconds(self) -> float:
        return (time.perf_counter() - self.began) * 1000

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            total = b"%.3f" % self.milliseconds
            message["headers"] = [
                *message["headers"], (b"x-request-id", self.id.encode()), (b"x-total-time", total), NOSNIFF,
            ]  # fmt: skip
        elif len(body := message.get("body", b"")) <= SHORT:
            self.body = body or self.body
        await self._send(message)


class Envelope:
    """Assigns an id to a request, authenticates it, checks the size of its body, and passes it to `app`.

    Counts and logs the reply. Replies to unexpected errors with status 500.
    """

    def __init__(
        self, app: ASGIApp, settings: Settings, authentication: Authentication, rates: RequestRates, log: AccessLog
    ) -> None:
        self.app, self._authentication, self._rates, self._log = app, authentication, rates, log
        self._limits = BodyLimits(settings.max_body_bytes, settings.max_upload_bytes)
        self._enter = cors(self._check, settings.origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = Exchange(scope, send)
        token = request_id.set(exchange.id)
        try:
            await self._enter(scope, receive, exchange.send)
        except asyncio.CancelledError:
            if exchange.status or (task := asyncio.current_task()) is None:
                raise
            # uvicorn cancels the requests that are still open at the end of the drain time. No reply has started
            # for this request, so an error reply can still state the reason.
            task.uncancel()
            await send_error(scope, exchange.send, Stopping())
        except Exception:
            faults.exception("%s %s failed", scope["method"], ascii(scope["path"][:200]))
            if exchange.status:  # the reply has started, so closing the connection is the only way to report the error
                raise
            await send_error(scope, exchange.send, InternalError())
        finally:
            self._record(scope, exchange)
            request_id.reset(token)

    def _record(self, scope: Scope, exchange: Exchange) -> None:
        """Count and log the reply."""
        # The label is the route's template, because the path would create a time series per model name.
        method, path, route = scope["method"], scope["path"], getattr(scope.get("route"), "path", "unmatched")
        _replies(method if method in METHODS else "other", route, exchange.status).inc()
        level, by = logging.DEBUG if path in QUIET else logging.INFO, scope.get("principal", "-")
        self._log.add(level, exchange.id, method, path, exchange.status, exchange.milliseconds, by)
        if method not in READS and exchange.status < 400 and is_audited(method, path):
            scope["app"].state.services.audit.add(by, method, path, exchange.body, exchange.status, exchange.id)

    async def _check(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "HEAD":
            await as_get(self._check, scope, receive, send)
            return
        try:
            scope["principal"] = self._authentication.principal(scope)
            if self._rates.is_limited(scope):
                send = self._rates.with_headers(scope, send)
                self._rates.count(scope)
            receive = self._limits.check(scope, receive)
        except OstinatoError as error:
            await send_error(scope, send, error)
            return
        await self.app(scope, receive, send)


def _request_id_of(scope: Scope) -> str:
    """The client's `x-request-id` if it is well-formed, otherwise a new id."""
    sent = index_of(scope).get(b"x-request-id")
    if sent is not None and REQUEST_ID.fullmatch(sent):
        return sent.decode("ascii")
    return new_id("req")


@cache
def _replies(method: str, route: str, status: int) -> Counter:
    """Return the reply counter with these labels, each of which has few possible values."""
    return http_requests.labels(method, route, status)
