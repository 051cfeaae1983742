"""Counters and failure reports of scorers, decoders and the host. Imports no torch."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from app import telemetry
from app.wire.engine import Failed, FromEngine

logger = logging.getLogger(__name__)
Reply = Callable[[bytes, FromEngine], None]  # (peer, message)

OUT_OF_MEMORY = ("can't allocate memory", "out of memory")  # substrings of the messages of torch's RuntimeError


class Counters(dict[str, float]):
    """Counter values by name. A version's counters also add each amount to `whole`, the counters of the process."""

    def __init__(self, whole: Counters | None = None) -> None:
        super().__init__()
        self._whole = whole

    def add(self, name: str, amount: float = 1) -> None:
        self[name] = self.get(name, 0.0) + amount
        if self._whole is not None:
            self._whole.add(name, amount)

    def observe(self, name: str, amount: int) -> None:
        """Add an amount to a histogram's sum, and count it in the bucket of the smallest power of two >= amount."""
        self.add(f"{name}_sum", amount)
        self.add(f"{name}_le_{1 << max(0, amount - 1).bit_length()}")

    def failed(self, code: str) -> None:
        """Count a failed request, in total and for its error code."""
        self.add("failed")
        self.add(f"failed_{code}")


def count_rows(name: str, rows: Iterable[tuple[Counters, int]]) -> None:
    """Add an amount for each row of a call to the counters of the row's version."""
    totals: dict[int, tuple[Counters, int]] = {}
    for counters, amount in rows:
        totals[id(counters)] = counters, amount + totals.get(id(counters), (counters, 0))[1]
    for counters, total in totals.values():
        counters.add(name, total)


def fail(reply: Reply, counters: Counters, peer: bytes, id: str, code: str, message: str, request_id: str = "") -> None:
    """Count and log the failure of a request, and send Failed as its final message."""
    counters.failed(code)
    with telemetry.about(request_id):
        logger.warning("%s: %s", code, message)
    reply(peer, Failed(id, code, message))


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error was caused by insufficient memory.

    On a CPU, torch raises a RuntimeError, which can be recognised only by its text.
    """
    return isinstance(error, MemoryError) or any(mark in str(error) for mark in OUT_OF_MEMORY)


def describe(error: Exception) -> tuple[str, str]:
    """Return the code and message for an unexpected error. Omits the error's text, which may contain paths."""
    if is_out_of_memory(error):
        return "out_of_memory", "there was not enough memory for this request"
    return "engine_failed", f"the network could not process this request ({type(error).__name__})"
