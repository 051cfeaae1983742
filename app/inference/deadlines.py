"""Enforces the time limits of many tasks with a single timer.

`asyncio.timeout` creates and cancels a timer for each request. A single timer, set to the earliest time limit, is
faster, because few requests reach their time limit and the timer rarely changes when a request starts.
"""

from __future__ import annotations

import asyncio
import time
from types import TracebackType
from typing import Self

from app.errors import DeadlineExceeded

GRAIN = 0.005  # the minimum number of seconds between two runs of the timer
LATE = "the request was not answered within its time limit"


class Deadlines:
    """The active time limits on one event loop."""

    def __init__(self) -> None:
        self._open: set[TimeLimit] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._due = float("inf")  # the monotonic time at which the timer runs

    def __len__(self) -> int:
        return len(self._open)

    def limit(self, seconds: float) -> TimeLimit:
        """A context manager that cancels its block after `seconds` and then raises DeadlineExceeded."""
        return TimeLimit(self, time.monotonic() + seconds)

    def add(self, limit: TimeLimit) -> None:
        """Start a time limit. All time limits share one timer, which is set to the earliest one."""
        self._open.add(limit)
        if limit.until < self._due:
            self._arm(limit.until)

    def discard(self, limit: TimeLimit) -> None:
        self._open.discard(limit)

    def _arm(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._due = due
        self._timer = asyncio.get_running_loop().call_later(max(0.0, due - time.monotonic()), self._run)

    def _run(self) -> None:
        now = time.monotonic()
        self._timer, self._due = None, float("inf")
        for limit in [limit for limit in self._open if limit.until <= now]:
            self._open.remove(limit)
            limit.expire()
        if self._open:
            self._arm(max(now + GRAIN, min(limit.until for limit in self._open)))


class TimeLimit:
    """One time limit, entered by the task that it limits. `until` is a monotonic time."""

    __slots__ = ("_cancellations", "_deadlines", "_expired", "_task", "until")

    def __init__(self, deadlines: Deadlines, until: float) -> None:
        self._deadlines, self.until = deadlines, until
        self._task: asyncio.Task[object] | None = None
        self._cancellations = 0  # the number of cancellation requests to the task before the block
        self._expired = False

    def expire(self) -> None:
        """Cancel the task, because it has reached its time limit."""
        self._expired = True
        if self._task is not None:
            self._task.cancel()

    def __enter__(self) -> Self:
        task = self._task = asyncio.current_task()
        self._cancellations = 0 if task is None else task.cancelling()
        self._deadlines.add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._deadlines.discard(self)
        if not self._expired or self._task is None:
            return
        # If the task was cancelled for another reason as well, that cancellation must continue.
        if self._task.uncancel() <= self._cancellations and kind is asyncio.CancelledError:
            raise DeadlineExceeded(LATE) from None
