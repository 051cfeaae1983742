"""CORS headers, which allow web pages from the origins in the setting `allowed_origins` to call the API."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

READABLE = (
    "x-request-id", "x-model-version", "x-queue-time", "x-inference-time", "x-total-time", "x-prompt-tokens",
    "x-generated-tokens", "retry-after", "x-should-retry", "content-disposition",
)  # fmt: skip
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE")
PREFLIGHT_SECONDS = 600


def cors(origins: Sequence[str]) -> list[Middleware]:
    """Return the middleware that answers preflight requests and adds CORS headers, or an empty list without origins."""
    if not origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=METHODS,
            allow_headers=["*"],
            expose_headers=READABLE,
            max_age=PREFLIGHT_SECONDS,
        )
    ]
