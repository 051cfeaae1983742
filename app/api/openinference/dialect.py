"""The Open Inference Protocol (`/v2`) with Triton's extensions."""

from __future__ import annotations

from typing import Any

from app.api.http.dialects import Dialect, PlainError
from app.api.openinference import generate, health, infer, metadata, repository, statistics
from app.api.openinference.infer_schemas import SHARED_MEMORY
from app.errors import OstinatoError

TRACES = (
    "traces cannot be configured; each reply contains the request's queue time and inference time, in the headers "
    "x-queue-time and x-inference-time; GET /v2/models/stats and GET /metrics return the sums of these times"
)


def render_error(error: OstinatoError) -> tuple[int, dict[str, Any]]:
    """Render an error as `{"error": message}`, as the protocol defines it."""
    return error.status, {"error": error.message}


DIALECT = Dialect(
    inference=(infer.router, generate.router),
    # `statistics` must precede `metadata`, because `/v2/models/{name}` would also match `/v2/models/stats`.
    management=(health.router, statistics.router, metadata.router, repository.router),
    prefixes=("/v2",),
    render_error=render_error,
    error_reply=PlainError,
    missing={
        "/v2/systemsharedmemory": SHARED_MEMORY,
        "/v2/cudasharedmemory": SHARED_MEMORY,
        "/v2/trace": TRACES,
        "/v2/models/{}/trace": TRACES,
        "/v2/models/{}/versions/{}/trace": TRACES,
        "/v2/logging": "the log is configured by the settings of the service, such as OSTINATO_LOG_FORMAT",
    },
)
