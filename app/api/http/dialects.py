"""Defines an API dialect: its routes, the paths that it claims, and its error format."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import msgspec
from fastapi import APIRouter

from app.errors import OstinatoError

RenderError = Callable[[OstinatoError], tuple[int, dict[str, Any]]]  # -> HTTP status and JSON body
TYPES = {  # `type` by HTTP status, as in OpenAI's API
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}


class ErrorDetail(msgspec.Struct, frozen=True):
    """An error. `code` is stable and machine-readable; `param` names the invalid request field."""

    message: str
    type: str
    param: str | None
    code: str


class PlainError(msgspec.Struct, frozen=True):
    """An error that consists only of a message, as in Ollama and the Open Inference Protocol."""

    error: str


class ErrorReply(msgspec.Struct, frozen=True):
    """The reply to a request that failed."""

    error: ErrorDetail


def error_body(error: OstinatoError) -> dict[str, Any]:
    """Render an error in OpenAI's format: `{"error": {"message", "type", "param", "code"}}`."""
    kind = TYPES.get(error.status, "server_error" if error.status >= 500 else "invalid_request_error")
    return {"error": {"message": error.message, "type": kind, "param": error.param, "code": error.code}}


def render_error(error: OstinatoError) -> tuple[int, dict[str, Any]]:
    """Render an error in OpenAI's format, which is also the default for paths that no dialect claims."""
    return error.status, error_body(error)


@dataclass(frozen=True)
class Dialect:
    """An API dialect, such as OpenAI's.

    `inference` contains the routers whose routes run a model, and `management` contains all other routers. `prefixes`
    are the paths that the dialect claims: `render_error` renders the errors of a claimed path and of every path below
    it, even if no such route exists. "/" claims only the path "/", "/x/" only the paths below "/x", and "POST /x" only
    requests with that method; `{}` matches any one segment of a path. `missing` maps paths that are not implemented, in
    the form of `prefixes`, to error messages that name an alternative.

    `render_error` may change the status of an error, except 401, 403 and 429, because clients depend on them.
    `error_reply` is the type of the body that `render_error` returns; it is used in the OpenAPI document.
    """

    inference: tuple[APIRouter, ...] = ()
    management: tuple[APIRouter, ...] = ()
    prefixes: tuple[str, ...] = ()
    render_error: RenderError = render_error
    error_reply: type[msgspec.Struct] = ErrorReply
    missing: Mapping[str, str] = field(default_factory=dict)

    def claims(self, method: str, path: str) -> bool:
        """Whether this dialect renders the errors of requests with this method and path."""
        return any(covers(prefix, method, path) for prefix in self.prefixes)


def covers(prefix: str, method: str, path: str) -> bool:
    """Whether a prefix, as in `Dialect.prefixes`, covers requests with this method and path."""
    only, _, start = prefix.rpartition(" ")
    return only in ("", method) and _paths(start).fullmatch(path) is not None


@cache
def _paths(start: str) -> re.Pattern[str]:
    """Return a regular expression for the paths that the prefix `start` covers."""
    steps = re.escape(start.rstrip("/")).replace(r"\{\}", "[^/]+")
    below = "/" if start == "/" else "/.*" if start.endswith("/") else "(/.*)?"
    return re.compile(steps + below, re.DOTALL)


DEFAULT = Dialect()  # for the paths that no dialect claims


def dialect_of(method: str, path: str, dialects: Iterable[Dialect]) -> Dialect:
    """The first dialect that claims the method and path, or the default if none does."""
    return next((dialect for dialect in dialects if dialect.claims(method, path)), DEFAULT)
