"""Converts errors to HTTP replies. Routes raise the exceptions in `app.errors`; the path's dialect renders them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match, Route
from starlette.types import Scope, Send

from app.api.http.dialects import Dialect, covers, dialect_of
from app.api.http.neutral_fields import SENT_NAMES
from app.errors import InvalidRequest, NotFound, OstinatoError, Unavailable, as_sent
from app.telemetry import cancelled, request_failure, request_id

CODE = "x-error-code"  # a header, because the error bodies of some dialects have no field for the code
IN_PARTS = "send larger files in parts with POST /v1/uploads"


class MethodNotAllowed(InvalidRequest):
    """The path exists but does not allow this method."""

    status, code = 405, "method_not_allowed"


class InternalError(OstinatoError):
    """An unexpected error in the service. The reply contains only the request id, which identifies the log entry."""

    def __init__(self) -> None:
        super().__init__(f"an internal error occurred; the log shows the cause under request id {request_id.get()}")
        self.retryable = False


class ClientGone(OstinatoError):
    """The client has disconnected, so no reply is sent. The status appears only in the log and metrics."""

    status, code = 499, "client_gone"

    def __init__(self) -> None:
        super().__init__("the client disconnected")


class Stopping(Unavailable):
    """The service is stopping, and the request was not finished within the drain time."""

    def __init__(self) -> None:
        super().__init__("the service is stopping and could not finish this request; try again", retry_after=1.0)


def response(error: OstinatoError, scope: Scope) -> Response:
    """Render an error as the reply to the request in `scope`, in the dialect of its path."""
    request_failure.labels(error.code).inc()
    error = as_sent(error, scope.get(SENT_NAMES) or {})
    status, body = dialect_of(scope["method"], scope["path"], scope["app"].state.dialects).render_error(error)
    return Response(msgspec.json.encode(body), status, _headers(error), "application/json")


def client_disconnected(scope: Scope) -> Response:
    """Count a client that disconnected before sending the whole request, and return a reply for the log."""
    cancelled.labels("sending").inc()
    return response(ClientGone(), scope)


def _headers(error: OstinatoError) -> dict[str, str]:
    """Return the headers that all dialects share: the error code, whether and when to retry, and how to
    authenticate."""
    headers = {CODE: error.code}
    if error.retry_after is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after)))
    if not error.retryable and (error.status >= 500 or error.status in (408, 409, 429)):
        headers["x-should-retry"] = "false"  # otherwise, OpenAI's clients would retry a request with such a status
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    return headers


async def send_error(scope: Scope, send: Send, error: OstinatoError) -> None:
    """Send an error reply from within a middleware."""

    async def receive() -> Any:  # never called, because a Response does not receive messages
        return {"type": "http.disconnect"}

    await response(error, scope)(scope, receive, send)


def install(app: FastAPI, dialects: Sequence[Dialect]) -> None:
    """Make `app` render every error in the dialect of the request's path."""
    app.state.dialects = dialects
    app.add_exception_handler(OstinatoError, _on_error)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(ClientDisconnect, _on_disconnect)


async def _on_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, OstinatoError)
    return response(error, request.scope)


async def _on_validation(request: Request, error: Exception) -> Response:
    """Handle errors from FastAPI's own validation of path, query and header parameters."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = [str(part) for part in first["loc"] if part not in ("body", "query", "path", "header")]
    where = ".".join(place) or "the request body"
    if first["type"] == "extra_forbidden":
        message = f"unknown field {where!r}"
    elif first["type"] == "json_invalid":
        where, message = "", "the request body is not valid JSON"
    else:
        message = f"{where}: {first['msg']}"
    return response(InvalidRequest(message, param=where or None), request.scope)


async def _on_disconnect(request: Request, error: Exception) -> Response:
    return client_disconnected(request.scope)


async def _on_http(request: Request, error: Exception) -> Response:
    """Handle errors that Starlette itself raises, such as an unknown path or a malformed form."""
    assert isinstance(error, HTTPException)
    path, method = request.url.path, request.method
    ours: OstinatoError
    if error.status_code == 404:
        ours = NotFound(_no_route(request), code="route_not_found")
    elif error.status_code == 405:
        generic = f"{path[:200]!a} does not allow {method}; /docs lists the allowed methods"
        ours = MethodNotAllowed(_instead(request, path) or generic)
    elif error.status_code < 500:
        ours = InvalidRequest(str(error.detail))
        ours.status = error.status_code
    else:
        ours = InternalError()
    reply = response(ours, request.scope)
    if error.headers:
        reply.headers.update(error.headers)
    if error.status_code == 405:
        reply.headers["allow"] = ", ".join(allowed_methods(request))
    return reply


def _no_route(request: Request) -> str:
    """Return the error message for a path without a route. The message suggests an alternative if there is one."""
    path = request.url.path.rstrip("/") or "/"
    versioned = path if path.startswith("/v1/") else f"/v1{path}"
    for other in (versioned, path.removeprefix("/v1"), path):
        if other != request.url.path and _methods_of(request, other):
            return f"there is no route {request.url.path[:200]!a}; did you mean {other[:200]!a}?"
    return (
        _instead(request, versioned)
        or _instead(request, path)
        or (f"there is no route {request.url.path[:200]!a}; /docs lists all routes")
    )


def _instead(request: Request, path: str) -> str | None:
    """Return the error message of the dialect that lists the method and path as missing, or None."""
    for dialect in request.app.state.dialects:
        for missing, instead in dialect.missing.items():
            if covers(missing, request.method, path):
                return str(instead)
    return None


def allowed_methods(request: Request) -> list[str]:
    """The methods of all routes that match the request's path.

    Starlette lists only the methods of the first matching route.
    """
    return _methods_of(request, request.scope["path"])


def _methods_of(request: Request, path: str) -> list[str]:
    routers = [router for dialect in request.app.state.dialects for router in (*dialect.inference, *dialect.management)]
    methods: set[str] = set()
    for route in (route for router in (request.app, *routers) for route in router.routes):
        if isinstance(route, Route) and route.matches({**request.scope, "path": path})[0] is not Match.NONE:
            methods |= route.methods or set()
    if "GET" in methods:
        methods.add("HEAD")
    return sorted(methods)
