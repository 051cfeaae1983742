"""What a dialect of the API is: its routes, the paths it claims, and the shape of its errors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter

from app.errors import OstinatoError

RenderError = Callable[[OstinatoError], tuple[int, dict[str, Any]]]  # -> HTTP status and JSON body
TYPES = {  # `type` by HTTP status, as in OpenAI's API
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}


def error_body(error: OstinatoError) -> dict[str, Any]:
    """An error as `{"error": {"message", "type", "param", "code"}}`: OpenAI's shape, which is also used where no
    dialect claims the path."""
    kind = TYPES.get(error.status, "server_error" if error.status >= 500 else "invalid_request_error")
    return {"error": {"message": error.message, "type": kind, "param": error.param, "code": error.code}}


def render_error(error: OstinatoError) -> tuple[int, dict[str, Any]]:
    """The default `RenderError`."""
    return error.status, error_body(error)


@dataclass(frozen=True)
class Dialect:
    """One dialect of the API, such as OpenAI's.

    `inference` are the routers whose routes ask a model, `management` all others. `prefixes` are the paths that the
    dialect claims: errors of a claimed path, and of every path below it, are rendered by `render_error`, whether or
    not there is such a route. "/" claims only itself. `missing` maps paths of the dialect that have no route to
    what to call instead.
    """

    inference: tuple[APIRouter, ...] = ()
    management: tuple[APIRouter, ...] = ()
    prefixes: tuple[str, ...] = ()
    render_error: RenderError = render_error
    missing: Mapping[str, str] = field(default_factory=dict)

    def claims(self, path: str) -> bool:
        """Whether the errors of a path are this dialect's to render."""
        return any(path == prefix or (prefix != "/" and path.startswith(f"{prefix}/")) for prefix in self.prefixes)


def renderer_of(path: str, dialects: Iterable[Dialect]) -> RenderError:
    """The `render_error` of the first dialect that claims the path, or else the default."""
    return next((dialect.render_error for dialect in dialects if dialect.claims(path)), render_error)
