"""The Open Inference Protocol (`/v2`) with Triton's extensions."""

from __future__ import annotations

from typing import Any

from app.api.http.dialects import Dialect, PlainError
from app.api.openinference import generate, health, infer, metadata, repository, statistics
from app.errors import OstinatoError

SHARED_MEMORY = "shared memory is not supported; send the tensors in the request"


def render_error(error: OstinatoError) -> tuple[int, dict[str, Any]]:
    """Render an error as `{"error": message}`, as the protocol defines it."""
    return error.status, {"error": error.message}


DIALECT = Dialect(
    inference=(infer.router, generate.router),
    # `/v2/models/stats` precedes `/v2/models/{name}`, which also matches it
    management=(health.router, statistics.router, metadata.router, repository.router),
    prefixes=("/v2",),
    render_error=render_error,
    error_reply=PlainError,
    missing={
        "/v2/systemsharedmemory": SHARED_MEMORY,
        "/v2/cudasharedmemory": SHARED_MEMORY,
        "/v2/trace": "traces cannot be configured",
        "/v2/logging": "the log is configured by the settings of the service, such as OSTINATO_LOG_FORMAT",
    },
)
