"""How much work may wait. Knows counts of sequences and tokens, not what they are."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Self

from app.errors import InvalidRequest, Overloaded
from app.telemetry import num_requests_running, num_requests_waiting, rejected

MEMORY_SECONDS = 5.0  # over which the rate of answers is averaged
LONGEST_RETRY = 60.0


class Ticket:
    """The right of some sequences to be read, then worked on. Every one is given back by `close`, whatever happened."""

    __slots__ = ("_admission", "_held", "_model", "_running", "_tokens", "_waiting")

    def __init__(self, admission: Admission, model: str, sequences: int, tokens: int) -> None:
        self._admission, self._model = admission, model
        self._held, self._tokens = sequences, tokens  # of the room for what waits
        self._waiting, self._running = sequences, 0  # as the metrics tell it
        num_requests_waiting.labels(model).inc(sequences)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def weigh(self, tokens: int) -> None:
        """Now it is known how many tokens they have. Raises as `admit` does."""
        self._admission.take(0, tokens)
        self._tokens += tokens

    def started(self) -> None:
        """One sequence has left the queue for a place in the engine."""
        if self._held:
            share = self._tokens // self._held
            self._admission.release(1, share)
            self._held, self._tokens = self._held - 1, self._tokens - share
            self._run(1)

    def sent(self) -> None:
        """An engine has it. It waits for no place of its own there, and takes its room here until it is answered."""
        self._run(self._waiting)

    def _run(self, count: int) -> None:
        self._waiting, self._running = self._waiting - count, self._running + count
        num_requests_waiting.labels(self._model).dec(count)
        num_requests_running.labels(self._model).inc(count)

    def close(self) -> None:
        self._admission.release(self._held, self._tokens)
        num_requests_waiting.labels(self._model).dec(self._waiting)
        num_requests_running.labels(self._model).dec(self._running)
        self._held = self._tokens = self._waiting = self._running = 0


class Admission:
    """Bounds what waits in one API process; what has been admitted is never shed."""

    def __init__(self, max_sequences: int, max_tokens: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.max_sequences, self.max_tokens = max_sequences, max_tokens
        self.sequences = self.tokens = 0
        self._clock = clock
        self._rate = 0.0  # sequences a second that left the queue of late
        self._at = clock()

    def admit(self, model: str, sequences: int, tokens: int = 0) -> Ticket:
        """Raises Overloaded when too much waits, InvalidRequest when this alone is too much at any time."""
        self.take(sequences, tokens)
        return Ticket(self, model, sequences, tokens)

    def take(self, sequences: int, tokens: int) -> None:
        """Raises as `admit` does; nothing is taken then."""
        if sequences > self.max_sequences:
            raise _too_large(sequences, self.max_sequences, "sequences")
        if tokens > self.max_tokens:
            raise _too_large(tokens, self.max_tokens, "tokens")
        if self.sequences + sequences > self.max_sequences:
            self._refuse("max_waiting", f"{self.sequences} sequences are waiting")
        if self.tokens + tokens > self.max_tokens:
            self._refuse("max_waiting_tokens", f"{self.tokens} tokens are waiting")
        self.sequences += sequences
        self.tokens += tokens

    def release(self, sequences: int, tokens: int) -> None:
        if sequences:
            now = self._clock()
            faded = self._rate * math.exp((self._at - now) / MEMORY_SECONDS)
            self._rate, self._at = faded + sequences / MEMORY_SECONDS, now
        self.sequences -= sequences
        self.tokens -= tokens

    def retry_after(self) -> float:
        """Seconds until half of what waits should be done, at the rate of late."""
        rate = self._rate * math.exp((self._at - self._clock()) / MEMORY_SECONDS)
        return float(min(LONGEST_RETRY, max(1.0, math.ceil(self.sequences / 2 / max(rate, 0.1)))))

    def _refuse(self, reason: str, what: str) -> None:
        rejected.labels(reason).inc()
        raise Overloaded(f"the service is at its limit: {what}; try again later", retry_after=self.retry_after())


def _too_large(count: int, most: int, what: str) -> InvalidRequest:
    return InvalidRequest(
        f"one request may hold {most} {what} at most; this one holds {count}: send it in parts",
        code="request_too_large",
    )
