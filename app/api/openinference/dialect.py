"""The Open Inference Protocol (`/v2`): the format of its errors. Its routes are not implemented yet."""

from __future__ import annotations

from typing import Any

from app.api.http.dialects import Dialect, PlainError
from app.errors import OstinatoError


def render_error(error: OstinatoError) -> tuple[int, dict[str, Any]]:
    """Render an error as `{"error": message}`, as the protocol defines it."""
    return error.status, {"error": error.message}


DIALECT = Dialect(prefixes=("/v2",), render_error=render_error, error_reply=PlainError)
