"""Limits each API key's requests and tokens per minute, counted across all API processes of this machine.

Each quota is a token bucket: it is full at first, each use reduces its level, and an empty bucket fills up within a
minute. In any period of t seconds, a key therefore uses at most (1 + t/60) times its quota.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from app.errors import Forbidden, Overloaded
from app.quotas import Quotas
from app.shared_levels import Level, SharedLevels
from app.telemetry import rejected

REQUESTS, TOKENS = "requests", "tokens"
RATES = (REQUESTS, TOKENS)
MINUTE = 60.0
ROUNDING = 1e-6  # tolerance, so that a retry after exactly the announced time succeeds


class RateLimited(Overloaded):
    """The key has used up its quota of requests or tokens. `retry_after` is the time until enough is available."""

    code = "rate_limit_exceeded"


class LargerThanQuota(Forbidden):
    """One request needs more than the key's whole quota, so a retry cannot succeed."""

    code = "request_exceeds_quota"


@dataclass(frozen=True, slots=True)
class Allowance:
    """The state of one quota: its limit, what is left of it, and the seconds until it is full again."""

    limit: int
    left: int
    full_after: float


class Rates:
    """Enforces the quotas of requests and tokens of all keys. Call its methods on the event loop.

    `folder` is a folder that the API processes of this machine share; without it, each process keeps its own counts.
    """

    def __init__(self, quotas: Quotas, folder: Path | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        limits = [(key, name, limit) for name in RATES for key, limit in quotas.limited(name).items()]
        self._limits = {(key, name): (slot, limit) for slot, (key, name, limit) in enumerate(sorted(limits))}
        self._levels = SharedLevels(folder if limits else None, len(limits), repr(sorted(limits)))
        self.clock = clock

    def limit(self, key: str, name: str) -> int | None:
        """A key's quota per minute, or None if there is no limit."""
        entry = self._limits.get((key, name))
        return None if entry is None else entry[1]

    def take(self, key: str, name: str, amount: int) -> None:
        """Take an amount from a quota. Raises RateLimited or LargerThanQuota without taking anything."""
        entry = self._limits.get((key, name))
        if entry is None:
            return
        slot, limit = entry
        if amount > limit:
            rejected.labels(f"quota_{name}").inc()
            raise LargerThanQuota(
                f"this request needs up to {amount} {name}, but the quota of the API key {key!r} is {limit} {name} per "
                "minute; send smaller requests, or generate fewer tokens"
            )
        missing = 0.0
        with self._levels.locked(slot):
            level = refilled(self._levels[slot], limit, self.clock())
            missing = amount - level.left
            if missing <= ROUNDING:
                self._levels[slot] = Level(max(0.0, level.left - amount), level.at)
        if missing > ROUNDING:
            rejected.labels(f"quota_{name}").inc()
            wait = missing * MINUTE / limit
            raise RateLimited(
                f"the API key {key!r} has used up its quota of {limit} {name} per minute; try again in "
                f"{max(1, math.ceil(wait))} s",
                retry_after=wait,
            )

    def give_back(self, key: str, name: str, amount: int) -> None:
        """Return an amount that was taken, but not used, to a quota."""
        entry = self._limits.get((key, name))
        if entry is None or amount <= 0:
            return
        slot, limit = entry
        with self._levels.locked(slot):
            level = refilled(self._levels[slot], limit, self.clock())
            self._levels[slot] = Level(min(float(limit), level.left + amount), level.at)

    def close(self) -> None:
        """Close the file that the API processes share."""
        self._levels.close()

    def allowance(self, key: str, name: str) -> Allowance | None:
        """The state of a key's quota, or None if there is no limit."""
        entry = self._limits.get((key, name))
        if entry is None:
            return None
        slot, limit = entry
        left = refilled(self._levels[slot], limit, self.clock()).left
        return Allowance(limit, math.floor(left), (limit - left) * MINUTE / limit)


def refilled(level: Level | None, limit: int, now: float) -> Level:
    """The level, at the time `now`, of a bucket that holds at most `limit`. A level of None means a full bucket."""
    if level is None:
        return Level(float(limit), now)
    gained = max(0.0, now - level.at) * limit / MINUTE
    return Level(min(float(limit), level.left + gained), max(now, level.at))
