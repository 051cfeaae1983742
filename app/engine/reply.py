"""What the parts of an engine share: how an answer leaves, and what is counted. Knows no transport and no tensor."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from app import telemetry
from app.wire.engine import Failed, FromEngine

logger = logging.getLogger(__name__)
Reply = Callable[[bytes, FromEngine], None]  # (peer, message)

NEVER = float("inf")
OUT_OF_MEMORY = ("can't allocate memory", "out of memory")  # torch says so in a RuntimeError
EXPIRED = "the deadline passed before the answer was complete"


class Counters(dict[str, float]):
    """Sums since the start of the process, by name."""

    def add(self, name: str, amount: float = 1) -> None:
        self[name] = self.get(name, 0.0) + amount

    def observe(self, name: str, amount: int) -> None:
        """Into a histogram: the sum, and how many there were between two powers of two."""
        self.add(f"{name}_sum", amount)
        self.add(f"{name}_le_{1 << max(0, amount - 1).bit_length()}")

    def failed(self, code: str) -> None:
        self.add("failed")
        self.add(f"failed_{code}")


def fail(reply: Reply, counters: Counters, peer: bytes, id: str, code: str, message: str, request_id: str = "") -> None:
    """The one final message of a request that could not be answered."""
    counters.failed(code)
    with telemetry.about(request_id):
        logger.warning("%s: %s", code, message)
    reply(peer, Failed(id, code, message))


def soonest(deadlines: Iterable[float | None]) -> float:
    return min((d for d in deadlines if d is not None), default=NEVER)


def is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or any(mark in str(error) for mark in OUT_OF_MEMORY)


def describe(error: Exception) -> tuple[str, str]:
    """A fault as (code, words fit for a reply): its kind alone, since its text may name paths."""
    if is_out_of_memory(error):
        return "out_of_memory", "there was no memory left for this request"
    return "engine_failed", f"the network could not run this request ({type(error).__name__})"
