"""Threads that compute side by side, with one core each.

Two threads that share each matrix product wait for each other at each product, and longer if the API or clients need a
core too. Two threads with a batch each never wait. A batch that is alone still gets every core: it runs in the
caller's own thread.
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
    """`count` threads, one set for each process. Call all methods from one thread.

    `wake` is called, in any thread, when a result waits for `collect`.
    """

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
        """Whether a result waits for `collect`."""
        return not self._finished.empty()

    @property
    def since(self) -> float | None:
        """When the oldest work that still runs began (monotonic). Safe to read from another thread."""
        return min(list(self._since.values()), default=None)

    def start(self, work: Callable[[], Result], then: Callable[[Result], None]) -> None:
        """Run `work`, which must not raise, in a free lane. `collect` passes its result to `then`."""
        torch.set_num_threads(1)  # the matrix library obeys the last call, from whichever thread it came
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
        """Hand over the results so far; with `wait`, those of all running work."""
        while self.running and (wait or self.finished):
            self.collect_one()

    def collect_one(self) -> None:
        """Wait for the next result and hand it over."""
        then = self._finished.get()
        self.running -= 1
        then()

    def widen(self) -> None:
        """Let the caller's thread compute with every core from now on. No lane may be running."""
        assert not self.running
        torch.set_num_threads(self.count)


def share(rows: Sequence[Row], steps: Sequence[int], count: int) -> list[Sequence[Row]]:
    """Split rows into up to `count` runs, none empty, with about equally many steps each."""
    total = sum(steps)
    pieces: list[Sequence[Row]] = []
    start = 0
    for stop, done in enumerate(accumulate(steps), 1):
        following = steps[stop] if stop < len(steps) else 0
        # Cut before the row whose middle lies behind the next equal share.
        if len(pieces) + 1 < count and following and done + following / 2 > total * (len(pieces) + 1) / count:
            pieces.append(rows[start:stop])
            start = stop
    return [*pieces, rows[start:]]
