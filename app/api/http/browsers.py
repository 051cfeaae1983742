"""Calls from web pages of other sites: the CORS headers for the origins of the setting `allowed_origins`."""

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
    """The middleware that answers preflight requests, which carry no key, and marks replies as readable.

    Without origins there is none, so that a browser keeps every reply from other sites.
    """
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
