"""Counts requests for the quotas of API keys, and adds OpenAI's rate-limit headers to replies."""

from __future__ import annotations

import math

from starlette.types import Message, Scope, Send

from app.api.http.auth import is_public
from app.rates import RATES, REQUESTS, Rates

Headers = list[tuple[bytes, bytes]]


class RequestRates:
    """Counts the requests of each key. Public routes are not counted."""

    def __init__(self, rates: Rates) -> None:
        self._rates = rates

    def is_limited(self, scope: Scope) -> bool:
        """Whether the request's key has a quota of requests or tokens, and the route is not public."""
        key = scope["principal"]
        if all(self._rates.limit(key, name) is None for name in RATES):
            return False
        return not is_public(scope["method"], scope["path"])

    def count(self, scope: Scope) -> None:
        """Count a request. Raises RateLimited if the key has no requests left."""
        self._rates.take(scope["principal"], REQUESTS, 1)

    def with_headers(self, scope: Scope, send: Send) -> Send:
        """Return a `send` function that adds the rate-limit headers to the reply."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *self._headers(scope["principal"])]
            await send(message)

        return send_with_headers

    def _headers(self, key: str) -> Headers:
        headers: Headers = []
        for name in RATES:
            allowance = self._rates.allowance(key, name)
            if allowance is not None:
                values = (("limit", allowance.limit), ("remaining", allowance.left))
                headers += [(f"x-ratelimit-{part}-{name}".encode(), b"%d" % value) for part, value in values]
                headers.append((f"x-ratelimit-reset-{name}".encode(), _duration(allowance.full_after).encode()))
        return headers


def _duration(seconds: float) -> str:
    """Write a duration in OpenAI's format, such as 120ms, 7s or 1m0s, rounded up."""
    if seconds < 1:
        return f"{math.ceil(1000 * seconds)}ms"
    minutes, rest = divmod(math.ceil(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
