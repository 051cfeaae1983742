"""How an error looks in each dialect. The only place that knows: routes raise `app.errors` types.

OpenAI: {"error": {"message", "type", "param", "code"}} · Hugging Face, TGI and TEI: {"error", "error_type"} ·
Open Inference Protocol: {"error": "…"}.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Scope, Send

from app.errors import InvalidRequest, NotFound, OstinatoError, Unavailable
from app.telemetry import cancelled, request_failure, request_id

OPENAI, HUGGING_FACE, INFERENCE_PROTOCOL = "openai", "hugging_face", "inference_protocol"
DIALECTS = (  # the first prefix of a path decides; everything else speaks OpenAI's
    ("/v2", INFERENCE_PROTOCOL),
    ("/models", HUGGING_FACE),
    ("/generate", HUGGING_FACE),
    ("/generate_stream", HUGGING_FACE),
    ("/predict", HUGGING_FACE),
    ("/embed", HUGGING_FACE),
    ("/similarity", HUGGING_FACE),
    ("/info", HUGGING_FACE),
)
TYPES = {  # OpenAI's `type` by status
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}
HF_TYPES = {  # status -> (status, error_type) as TGI and TEI have them
    400: (422, "validation"),
    404: (404, "not_found"),
    413: (413, "validation"),
    429: (429, "overloaded"),
    500: (500, "incomplete_generation"),
    503: (503, "unhealthy"),
    504: (504, "timeout"),
}


IN_PARTS = "larger files are sent in parts: POST /v1/uploads"


class MethodNotAllowed(InvalidRequest):
    status, code = 405, "method_not_allowed"


class InternalError(OstinatoError):
    """What a caller hears of a fault of ours: nothing but how to find it in the log."""

    def __init__(self) -> None:
        super().__init__(f"something went wrong here; the log tells more under request id {request_id.get()}")
        self.retryable = False


class ClientGone(OstinatoError):
    """Nobody is left to be answered; the status is for the log alone."""

    status, code = 499, "client_gone"

    def __init__(self) -> None:
        super().__init__("the client went away")


class Stopping(Unavailable):
    """The last word to whoever is still waited for when the time to finish in is over."""

    def __init__(self) -> None:
        super().__init__(
            "the service is stopping, and there was no time left to finish this; try again", retry_after=1.0
        )


def dialect_of(path: str) -> str:
    if path == "/":
        return HUGGING_FACE
    for prefix, dialect in DIALECTS:
        if path == prefix or path.startswith(prefix + "/"):
            return dialect
    return OPENAI


def body_of(error: OstinatoError) -> dict[str, Any]:
    """OpenAI's shape, also for the events of a stream."""
    kind = TYPES.get(error.status, "server_error" if error.status >= 500 else "invalid_request_error")
    return {"error": {"message": error.message, "type": kind, "param": error.param, "code": error.code}}


def render(error: OstinatoError, dialect: str) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Status, body and headers."""
    status = error.status
    headers: dict[str, str] = {}
    if error.retry_after is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after)))
    if not error.retryable and (status >= 500 or status in (408, 409, 429)):
        headers["x-should-retry"] = "false"
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    if dialect == INFERENCE_PROTOCOL:
        return status, {"error": error.message}, headers
    if dialect == HUGGING_FACE:
        status, kind = HF_TYPES.get(status, (status, error.code))
        return status, {"error": error.message, "error_type": kind}, headers
    return status, body_of(error), headers


def response(error: OstinatoError, path: str) -> Response:
    request_failure.labels(error.code).inc()
    status, body, headers = render(error, dialect_of(path))
    return Response(msgspec.json.encode(body), status, headers, "application/json")


async def send_error(scope: Scope, send: Send, error: OstinatoError) -> None:
    """The reply of a middleware."""

    async def receive() -> Any:  # nothing is read: a Response only sends
        return {"type": "http.disconnect"}

    await response(error, scope["path"])(scope, receive, send)


def install(app: FastAPI) -> None:
    """Make `app` answer every error in the dialect of its path."""
    app.add_exception_handler(OstinatoError, _on_error)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(ClientDisconnect, _on_disconnect)


async def _on_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, OstinatoError)
    return response(error, request.url.path)


async def _on_validation(request: Request, error: Exception) -> Response:
    """What FastAPI's own reading of a request found, for routes that use it."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = [str(part) for part in first["loc"] if part not in ("body", "query", "path", "header")]
    where = ".".join(place) or "the body"
    if first["type"] == "extra_forbidden":
        message = f"unknown field {where!r}"
    elif first["type"] == "json_invalid":
        where, message = "", "the body is no valid JSON"
    else:
        message = f"{where}: {first['msg']}"
    return response(InvalidRequest(message, param=where or None), request.url.path)


async def _on_disconnect(request: Request, error: Exception) -> Response:
    """The client left before its request was complete: there is nothing to be done, and nobody to be told."""
    cancelled.labels("sending").inc()
    return response(ClientGone(), request.url.path)


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path, method = request.url.path, request.method
    known: OstinatoError
    if error.status_code == 404:
        known = NotFound(f"there is no route {path[:200]!a}; /docs lists them", code="route_not_found")
    elif error.status_code == 405:
        known = MethodNotAllowed(f"{method} is not for {path[:200]!a}; /docs lists what is")
    elif error.status_code < 500:
        known = InvalidRequest(str(error.detail))
        known.status = error.status_code
    else:
        known = InternalError()
    reply = response(known, path)
    if error.headers:
        reply.headers.update(error.headers)
    return reply
