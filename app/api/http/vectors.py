"""Shortens the vectors in replies, and encodes them without blocking the event loop."""

from __future__ import annotations

import asyncio
import math
from typing import Any

from app.api.http.replies import encode_each

INLINE = 4000  # maximum number of values in a reply that is encoded on the event loop rather than in a worker thread


def shortened(row: list[float], dimensions: int) -> list[float]:
    """Shorten a vector to its first `dimensions` numbers, and scale it to unit length."""
    cut = row[:dimensions]
    length = math.sqrt(math.fsum(x * x for x in cut)) or 1.0
    return [x / length for x in cut]


async def encoded(rows: list[Any]) -> list[Any]:
    """Return the rows. If the rows contain many values, each row is returned as encoded JSON."""
    if sum(len(row) for row in rows) <= INLINE:
        return rows
    return list(await asyncio.to_thread(encode_each, rows))
