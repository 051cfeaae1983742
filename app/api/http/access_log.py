"""The access log: one line per request.

Lines are collected and written together, because each write is a system call.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import Any

from app import telemetry

SECONDS = 0.2  # the maximum time for which lines are collected
MOST = 500  # the maximum number of collected lines

log = logging.getLogger("ostinato.access")


@dataclass(slots=True)
class Access:
    """A request's log entry, with its principal (`by`) and duration (`ms`, in milliseconds)."""

    created: float
    level: int
    id: str
    method: str
    path: str
    status: int
    ms: float
    by: str

    def line(self) -> telemetry.Line:
        message = f"{self.method} {self.path} {self.status} {self.ms:.1f} ms {self.by}"
        fields = ("method", self.method), ("path", self.path), ("status", self.status), ("ms", round(self.ms, 2))
        data: dict[str, Any] = dict(fields) | {"by": self.by}
        level = logging.getLevelName(self.level).lower()
        return telemetry.Line(self.created, level, log.name, message, self.id, "", data)


class AccessLog:
    """Collects lines on the event loop, and writes them at most `SECONDS` later."""

    def __init__(self) -> None:
        self._lines: list[Access] = []
        self._timer: asyncio.TimerHandle | None = None

    def add(self, level: int, id_: str, method: str, path: str, status: int, ms: float, by: str) -> None:
        """Add a line for one request, unless the level is below the configured log level."""
        if not log.isEnabledFor(level):
            return
        self._lines.append(Access(time.time(), level, id_, method, path, status, ms, by))
        if len(self._lines) >= MOST:
            self.write()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SECONDS, self.write)

    def write(self) -> None:
        """Write the collected lines now."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer, lines, self._lines = None, self._lines, []
        telemetry.write([line.line() for line in lines])
