"""Calls the API's routes within this process, so that a request in a batch is answered exactly as over HTTP."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from fastapi import FastAPI
from starlette.types import Message, Scope

from app.api.application import DIALECTS
from app.api.http import errors
from app.api.http.direct import DirectRoutes
from app.api.http.errors import CODE, InternalError, send_error
from app.api.http.limits import BodyLimits
from app.api.http.replies import new_id
from app.api.http.services import Services
from app.errors import InvalidRequest, OstinatoError
from app.rates import RateLimited
from app.telemetry import request_id

DELAYS = (b"engine_lost", RateLimited.code.encode())  # codes of errors that are not caused by the request
TRANSIENT = (429, 503, 504)  # statuses after which a retry may succeed, unless the reply says otherwise
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RouteReply:
    """The reply of a route."""

    status: int
    headers: Mapping[bytes, bytes]
    body: bytes
    request_id: str

    @property
    def success(self) -> bool:
        return self.status < 400

    @property
    def transient(self) -> bool:
        """Whether the request may succeed if it is sent again."""
        return self.status in TRANSIENT and self.headers.get(b"x-should-retry") != b"false"

    @property
    def delayed(self) -> bool:
        """Whether the request is not at fault: no answer came in time, an engine was lost, or the quota is used up.

        Such a request is retried for as long as necessary: the launcher restarts engines, and quotas refill.
        """
        return self.status == 504 or self.headers.get(CODE.encode()) in DELAYS

    @property
    def no_memory(self) -> bool:
        """Whether the engines have too little memory for the version, temporarily or permanently."""
        return self.headers.get(CODE.encode()) == b"out_of_memory"


class RequestHead(msgspec.Struct, frozen=True):
    """The fields of a body that the batch program reads. `model` is JSON, or empty if it is missing in the body."""

    model: msgspec.Raw = msgspec.Raw()
    stream: Any = None


def read_head(body: bytes) -> RequestHead:
    """Read the head of a body. Returns the defaults if the body is not valid; the route then reports the error."""
    try:
        return msgspec.json.decode(body, type=RequestHead)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return RequestHead()


class BatchRoutes:
    """The routes that batches can call. All requests are sent by one principal."""

    def __init__(self, services: Services, principal: str) -> None:
        self._principal = principal
        self._app = FastAPI(openapi_url=None)
        self._app.state.services = services
        errors.install(self._app, DIALECTS)
        self._routes = DirectRoutes(router for dialect in DIALECTS for router in dialect.inference)
        self._limits = BodyLimits(services.settings.max_body_bytes, services.settings.max_upload_bytes)

    async def post(self, path: str, body: bytes) -> RouteReply:
        """Send a body to a route, and return the reply. Errors are also converted to replies."""
        exchange = _RouteExchange(body)
        token = request_id.set(exchange.id)
        try:
            await self._exchange(self._scope(path, body), exchange)
        finally:
            request_id.reset(token)
        return RouteReply(exchange.status, exchange.headers, b"".join(exchange.pieces), exchange.id)

    async def _exchange(self, scope: Scope, exchange: _RouteExchange) -> None:
        try:
            receive = self._limits.check(scope, exchange.receive)
            _check_not_streamed(exchange.body)
            await self._routes(scope, receive, exchange.send)
        except OstinatoError as error:
            await send_error(scope, exchange.send, error)
        except Exception:
            log.exception("%s failed in a batch", scope["path"])
            await send_error(scope, exchange.send, InternalError())

    def _scope(self, path: str, body: bytes) -> Scope:
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        return {
            "type": "http",
            "method": "POST",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": headers,
            "app": self._app,
            "principal": self._principal,
            "is_operator": False,
        }


class _RouteExchange:
    """The body of an ASGI request, and the reply so far."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.id = new_id("req")
        self.status = 500
        self.headers: dict[bytes, bytes] = {}
        self.pieces: list[bytes] = []

    async def receive(self) -> Message:
        return {"type": "http.request", "body": self.body, "more_body": False}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers, self.pieces = message["status"], dict(message["headers"]), []
        else:
            self.pieces.append(message.get("body", b""))


def _check_not_streamed(body: bytes) -> None:
    """Raise InvalidRequest if the reply would be a stream."""
    if read_head(body).stream:
        raise InvalidRequest("a request of a batch cannot be streamed; leave out stream", param="stream")
