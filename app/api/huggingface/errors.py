"""Errors in the format of TGI and TEI."""

from __future__ import annotations

from typing import Any

import msgspec

from app.errors import OstinatoError

TYPES = {  # Ostinato's status -> the status and `error_type` of TGI and TEI
    400: (422, "validation"),
    404: (404, "not_found"),
    413: (413, "validation"),
    424: (424, "backend"),
    429: (429, "overloaded"),
    500: (500, "incomplete_generation"),
    503: (503, "unhealthy"),
    504: (504, "timeout"),
}


class HuggingFaceError(msgspec.Struct, frozen=True):
    """An error in the format of TGI and TEI. `error_type` is a machine-readable code."""

    error: str
    error_type: str


def render_error(error: OstinatoError) -> tuple[int, dict[str, Any]]:
    """Render an error as `{"error": …, "error_type": …}`, the format of TGI and TEI."""
    status, kind = TYPES.get(error.status, (error.status, error.code))
    return status, {"error": error.message, "error_type": kind}


def render_tei_error(error: OstinatoError) -> tuple[int, dict[str, Any]]:
    """Render an error like `render_error`, but with TEI's status 424 if the model cannot perform the task."""
    if error.code == "wrong_task":
        return 424, {"error": error.message, "error_type": "backend"}
    return render_error(error)


def stream_error(error: OstinatoError) -> dict[str, Any]:
    """Render an error in a stream. The type is always `generation`, because clients have an exception class for it."""
    return {"error": error.message, "error_type": "generation"}
