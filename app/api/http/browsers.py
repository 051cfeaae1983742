"""CORS headers, which allow web pages from the origins in the `allowed_origins` setting to call the API."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

RATE_HEADERS = tuple(
    f"x-ratelimit-{part}-{name}" for part in ("limit", "remaining", "reset") for name in ("requests", "tokens")
)
READABLE = (
    "x-request-id", "x-model-version", "x-queue-time", "x-inference-time", "x-total-time", "x-prompt-tokens",
    "x-generated-tokens", "x-error-code", "retry-after", "x-should-retry", "content-disposition",
    *RATE_HEADERS,
)  # fmt: skip
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE")
PREFLIGHT_SECONDS = 600


def cors(app: ASGIApp, origins: Sequence[str]) -> ASGIApp:
    """Wrap `app` to answer preflight requests and add CORS headers. Without origins, return `app` unchanged."""
    if not origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=METHODS,
        allow_headers=["*"],
        expose_headers=READABLE,
        max_age=PREFLIGHT_SECONDS,
    )
