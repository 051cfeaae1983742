"""Threads that compute side by side, one core each. Knows threads; knows no request and no network.

Two threads that share every matrix product wait for each other at each of them, and longer where API or clients want
a core too. Two threads with a batch each never wait. What is alone still gets every core: in the caller's own thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from queue import SimpleQueue
from typing import TypeVar

import torch

Row = TypeVar("Row")
Result = TypeVar("Result")


class Lanes:
    """`count` of them, one set a process; all methods belong to one thread. `wake` is called, in any thread, when
    there is something to `collect`."""

    def __init__(self, count: int, wake: Callable[[], None] = lambda: None) -> None:
        self.count, self.running = count, 0
        self._wake = wake
        self._since: dict[object, float] = {}
        self._finished: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._threads = ThreadPoolExecutor(count, "lane", initializer=lambda: torch.set_num_threads(1))

    @property
    def free(self) -> int:
        return self.count - self.running

    @property
    def finished(self) -> bool:
        return not self._finished.empty()

    @property
    def since(self) -> float | None:
        """When the oldest work that still runs began (monotonic). Safe to read from another thread."""
        return min(list(self._since.values()), default=None)

    def start(self, work: Callable[[], Result], then: Callable[[Result], None]) -> None:
        """Run `work`, which must not raise, in a free lane; `collect` calls `then` with what it gave."""
        torch.set_num_threads(1)  # of the matrix library the last call counts, whichever thread makes it
        self.running += 1
        key = object()
        self._since[key] = time.monotonic()

        def run() -> None:
            with torch.inference_mode():
                result = work()
            del self._since[key]
            self._finished.put(lambda: then(result))
            self._wake()

        self._threads.submit(run)

    def collect(self, *, wait: bool = False) -> None:
        """Take over what is done; `wait`: until nothing runs."""
        while self.running and (wait or self.finished):
            self.collect_one()

    def collect_one(self) -> None:
        """Wait for the next that is done, and take it over."""
        then = self._finished.get()
        self.running -= 1
        then()

    def widen(self) -> None:
        """The caller's thread computes with every core from now on; nothing may run in a lane."""
        assert not self.running
        torch.set_num_threads(self.count)


def share(rows: Sequence[Row], steps: Sequence[int], count: int) -> list[Sequence[Row]]:
    """Up to `count` runs of rows, none empty, with about equally many steps each."""
    total = sum(steps)
    parts: list[Sequence[Row]] = []
    start = 0
    for stop, done in enumerate(accumulate(steps), 1):
        following = steps[stop] if stop < len(steps) else 0
        if len(parts) + 1 < count and following and done + following / 2 > total * (len(parts) + 1) / count:
            parts.append(rows[start:stop])
            start = stop
    return [*parts, rows[start:]]
