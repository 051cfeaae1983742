"""Synchronises the periods of the loops that watch engines and the database."""

from __future__ import annotations

import asyncio
import time


async def tick(period: float) -> None:
    """Sleep until the next multiple of `period` of the monotonic clock, in seconds.

    Loops whose periods are multiples of each other then wake up together, and an idle process wakes up less often.
    """
    await asyncio.sleep(period - time.monotonic() % period)
