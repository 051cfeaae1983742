"""Hugging Face's servers (TGI, TEI): the shape of their errors. None of their routes is served yet."""

from __future__ import annotations

from typing import Any

from app.api.http.dialects import Dialect
from app.errors import OstinatoError

TYPES = {  # our status -> the status and `error_type` that TGI and TEI answer with
    400: (422, "validation"),
    404: (404, "not_found"),
    413: (413, "validation"),
    429: (429, "overloaded"),
    500: (500, "incomplete_generation"),
    503: (503, "unhealthy"),
    504: (504, "timeout"),
}


def render_error(error: OstinatoError) -> tuple[int, dict[str, Any]]:
    """`{"error": …, "error_type": …}`, the shape that TGI and TEI use."""
    status, kind = TYPES.get(error.status, (error.status, error.code))
    return status, {"error": error.message, "error_type": kind}


DIALECT = Dialect(
    prefixes=("/", "/models", "/generate", "/generate_stream", "/predict", "/embed", "/similarity", "/info"),
    render_error=render_error,
)
