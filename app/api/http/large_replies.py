"""Limits the number of scores in a reply, and builds large replies without blocking the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from app.errors import InvalidRequest
from app.inference.queries import ScoredBatch

LARGEST = 1_000_000  # maximum number of probabilities and scores in a reply: about 50 MB of JSON
INLINE = 2000  # maximum number of scores in a reply that is built on the event loop rather than in a worker thread
T = TypeVar("T")


def check_reply_size(inputs: int, labels: int, scores: int, param: str, advice: str = "fewer inputs") -> None:
    """Reject a request whose reply would contain more than LARGEST numbers.

    `scores` is the number of probabilities and scores for each input, and `param` is the field with the inputs. Call
    this before the engine processes the request.
    """
    numbers = inputs * scores
    if numbers > LARGEST:
        raise InvalidRequest(
            f"the reply would contain {numbers:,} probabilities and scores ({inputs} inputs, {labels} labels); the "
            f"limit is {LARGEST:,}. Send {advice}",
            code="reply_too_large",
            param=param,
        )


async def build_reply(scored: ScoredBatch, build: Callable[[], T]) -> T:
    """Call `build`, in a worker thread if `scored` contains many scores."""
    if len(scored.rows) * len(scored.rows[0]) <= INLINE:
        return build()
    return await asyncio.to_thread(build)
