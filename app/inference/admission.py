"""Admission control: limits the number of requests and tokens waiting in one API process.

The limits apply to requests to engines. A classification or an embedding is one request, regardless of the number of
texts. A generation counts as one request for each continuation of each prompt. The metrics `num_requests_waiting` and
`num_requests_running` count the same requests.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Self

from app.errors import InvalidRequest, Overloaded
from app.quotas import Quotas
from app.rates import TOKENS, Rates
from app.telemetry import model_series, num_requests_running, num_requests_waiting, rejected

MEMORY_SECONDS = 5.0  # the time constant of the average rate of released requests
LONGEST_RETRY = 60.0
LEAST_SHARE = 8  # a request without a token limit may use at least 1/LEAST_SHARE of the key's quota of tokens


class Ticket:
    """The capacity that one caller's requests occupy, and their metrics. `close` releases the capacity."""

    __slots__ = (
        "_admission", "_closed", "_model", "_principal", "_requests", "_reserved", "_running", "_tokens", "_waiting",
    )  # fmt: skip

    def __init__(self, admission: Admission, model: str, requests: int, tokens: int, principal: str) -> None:
        self._admission, self._model, self._principal = admission, model, principal
        self._reserved = 0  # tokens of the caller's quota for text that has not been generated yet
        self._requests, self._tokens = requests, tokens  # the capacity taken from `admission`
        self._waiting, self._running = requests, 0  # the requests that this ticket contributes to the gauges
        self._closed = False
        model_series.begin(model)  # keeps the gauges of this model from being dropped until `close`
        num_requests_waiting.labels(model).inc(requests)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def weigh(self, tokens: int, *, charged: int | None = None, reserved: int = 0) -> None:
        """Reserve capacity for the tokens once their number is known, and deduct them from the caller's quota.

        If `charged` is given, that number of tokens is deducted instead. `reserved` tokens for generated text are
        deducted as well. Raises RateLimited or LargerThanQuota, and the errors of `Admission.admit`.
        """
        self._admission.take(0, tokens)
        self._tokens += tokens
        self._admission.rates.take(self._principal, TOKENS, (tokens if charged is None else charged) + reserved)
        self._reserved = reserved

    def room(self, tokens: int) -> int | None:
        """Return how many tokens each waiting request may generate after prompts of `tokens` tokens in total.

        Prompts and generated text together may use half of the caller's remaining quota, or 1/LEAST_SHARE of the whole
        quota if that is more. The rest is left for other requests. Returns None if the caller has no quota.
        """
        allowance = self._admission.rates.allowance(self._principal, TOKENS)
        if allowance is None:
            return None
        return (max(allowance.limit // LEAST_SHARE, allowance.left // 2) - tokens) // max(1, self._waiting)

    def generated(self, tokens: int) -> None:
        """Deduct generated tokens from the reserved tokens. `close` returns the rest to the quota."""
        self._reserved -= tokens

    def started(self) -> None:
        """Record that one request has left the engine's queue: release its capacity and count it as running."""
        if self._requests:
            share = self._tokens // self._requests
            self._admission.release(1, share)
            self._requests, self._tokens = self._requests - 1, self._tokens - share
            self._run(1)

    def sent(self) -> None:
        """Count all waiting requests as running, because they have been sent to an engine.

        They keep their capacity, because the engine does not report when it starts them.
        """
        self._run(self._waiting)

    def _run(self, count: int) -> None:
        self._waiting, self._running = self._waiting - count, self._running + count
        num_requests_waiting.labels(self._model).dec(count)
        num_requests_running.labels(self._model).inc(count)

    def close(self) -> None:
        """Release the remaining capacity. May be called more than once."""
        if self._closed:
            return
        self._closed = True
        self._admission.release(self._requests, self._tokens)
        self._admission.rates.give_back(self._principal, TOKENS, self._reserved)
        num_requests_waiting.labels(self._model).dec(self._waiting)
        num_requests_running.labels(self._model).dec(self._running)
        self._requests = self._tokens = self._waiting = self._running = 0  # a late `started` then has no effect
        model_series.end(self._model)


class Admission:
    """Limits and counts the waiting requests and their tokens. Admitted requests are never dropped."""

    def __init__(
        self,
        max_requests: int,
        max_tokens: int,
        clock: Callable[[], float] = time.monotonic,
        rates: Rates | None = None,
    ) -> None:
        self.rates = Rates(Quotas()) if rates is None else rates
        self.max_requests, self.max_tokens = max_requests, max_tokens
        self.requests = self.tokens = 0
        self._clock = clock
        self._rate = 0.0  # requests released per second, as an exponential average
        self._at = clock()

    def admit(self, model: str, requests: int, tokens: int = 0, principal: str = "") -> Ticket:
        """Reserve capacity for one caller's requests.

        Raises Overloaded (429) if too many requests or tokens are waiting, and InvalidRequest if this caller's requests
        alone exceed a limit.
        """
        self.take(requests, tokens)
        return Ticket(self, model, requests, tokens, principal)

    def take(self, requests: int, tokens: int) -> None:
        """Reserve capacity, or raise the same errors as `admit` without reserving any."""
        if requests > self.max_requests:
            raise _too_large(requests, self.max_requests, "continuations (prompts times n)")
        if tokens > self.max_tokens:
            raise _too_large(tokens, self.max_tokens, "tokens")
        if self.requests + requests > self.max_requests:
            self._refuse("max_waiting", f"{self.requests} requests are waiting")
        if self.tokens + tokens > self.max_tokens:
            self._refuse("max_waiting_tokens", f"{self.tokens} tokens are waiting")
        self.requests += requests
        self.tokens += tokens

    def release(self, requests: int, tokens: int) -> None:
        """Release capacity. Each released request counts towards the average rate, which `retry_after` uses."""
        if requests:
            now = self._clock()
            faded = self._rate * math.exp((self._at - now) / MEMORY_SECONDS)
            self._rate, self._at = faded + requests / MEMORY_SECONDS, now
        self.requests -= requests
        self.tokens -= tokens

    def retry_after(self) -> float:
        """Estimate, from the recent average rate, the seconds until half of the waiting requests are released."""
        rate = self._rate * math.exp((self._at - self._clock()) / MEMORY_SECONDS)
        return float(min(LONGEST_RETRY, max(1.0, math.ceil(self.requests / 2 / max(rate, 0.1)))))

    def _refuse(self, reason: str, what: str) -> None:
        rejected.labels(reason).inc()
        raise Overloaded(f"the service is at its limit: {what}; try again later", retry_after=self.retry_after())


def _too_large(count: int, most: int, what: str) -> InvalidRequest:
    return InvalidRequest(
        f"one request may have at most {most} {what}; this one has {count}: split it into smaller requests",
        code="request_too_large",
    )
