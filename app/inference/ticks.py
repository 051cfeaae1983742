"""Aligns the wake-up times of the loops that watch engines and the database."""

from __future__ import annotations

import asyncio
import time


async def tick(period: float) -> None:
    """Sleep until the monotonic clock reaches the next multiple of `period` seconds.

    Loops whose periods are multiples of each other then wake up together, so an idle process wakes up less often.
    """
    await asyncio.sleep(period - time.monotonic() % period)
