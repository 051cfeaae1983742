"""The dialect of Hugging Face's servers (TGI, TEI): the format of errors. Their routes are not implemented yet."""

from __future__ import annotations

from typing import Any

import msgspec

from app.api.http.dialects import Dialect
from app.errors import OstinatoError

TYPES = {  # Ostinato's status -> the status and `error_type` of TGI and TEI
    400: (422, "validation"),
    404: (404, "not_found"),
    413: (413, "validation"),
    429: (429, "overloaded"),
    500: (500, "incomplete_generation"),
    503: (503, "unhealthy"),
    504: (504, "timeout"),
}


class HuggingFaceError(msgspec.Struct, frozen=True):
    """An error of TGI or TEI. `error_type` is for programs."""

    error: str
    error_type: str


def render_error(error: OstinatoError) -> tuple[int, dict[str, Any]]:
    """Render an error as `{"error": …, "error_type": …}`, the format of TGI and TEI."""
    status, kind = TYPES.get(error.status, (error.status, error.code))
    return status, {"error": error.message, "error_type": kind}


DIALECT = Dialect(
    prefixes=("/", "POST /models/", "/generate", "/generate_stream", "/predict", "/embed", "/similarity", "/info"),
    render_error=render_error,
    error_reply=HuggingFaceError,
)
