"""CORS headers, which let web pages of the origins in the setting `allowed_origins` call the API."""

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
    """Return the middleware that answers preflight requests, which carry no key, and marks replies as readable.

    If there are no origins, the list is empty. Browsers then withhold replies from the pages of other sites.
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
