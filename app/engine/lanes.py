"""Threads that compute batches in parallel, one core per thread.

If two threads share each matrix product, they wait for each other after every product, and wait longer if the API or a
client also needs a core. Two threads with separate batches never wait for each other. A single batch runs in the
caller's thread, which can use all cores.

Long work runs in an additional thread, on one core, so that a sequence that takes seconds does not delay the others.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from queue import SimpleQueue
from typing import TypeVar

import torch

CLOCKS = hasattr(time, "pthread_getcpuclockid")  # whether the system can measure the CPU time of each thread
PATIENCE = 10  # long work counts as having run for at least 1/PATIENCE of the elapsed time
Row = TypeVar("Row")
Result = TypeVar("Result")


class _LongWork:
    """Measures the time that the current thread has spent on long work since this object was created."""

    def __init__(self) -> None:
        self._began, self._used = time.monotonic(), time.thread_time()
        self._clock = time.pthread_getcpuclockid(threading.get_ident()) if CLOCKS else None

    def effective_start(self) -> float:
        """Return the current time minus the longer of the CPU time used so far and a tenth of the elapsed time.

        If the system cannot measure a thread's CPU time, the actual start is returned.
        """
        now = time.monotonic()
        elapsed = now - self._began
        if self._clock is not None:
            elapsed = max(elapsed / PATIENCE, time.clock_gettime(self._clock) - self._used)
        return now - elapsed


class Lanes:
    """A set of `count` threads. A process can have only one instance. Call all methods from one thread.

    `wake` is called, from any thread, when a result is ready for `collect`.
    """

    def __init__(self, count: int, wake: Callable[[], None] = lambda: None) -> None:
        self.count, self.running = count, 0
        self._wake = wake
        self._since: dict[object, float] = {}
        self._finished: SimpleQueue[tuple[bool, Callable[[], None]]] = SimpleQueue()
        self._threads = ThreadPoolExecutor(count, "lane", initializer=lambda: torch.set_num_threads(1))
        self._long = ThreadPoolExecutor(1, "long", initializer=lambda: torch.set_num_threads(1))
        self._long_count = 0
        self._long_work: _LongWork | None = None

    @property
    def free(self) -> int:
        return self.count - self.running

    @property
    def finished(self) -> bool:
        """Whether a result is ready for `collect`."""
        return not self._finished.empty()

    @property
    def since(self) -> float | None:
        """The monotonic time at which the oldest running work began, if any. Safe to read from another thread.

        A busy machine can delay long work by minutes, so `effective_start` is used as the start of long work.
        """
        started = list(self._since.values())
        if (long := self._long_work) is not None:
            started.append(long.effective_start())
        return min(started, default=None)

    def start(self, work: Callable[[], Result], then: Callable[[Result], None]) -> None:
        """Run `work`, which must not raise, in a free lane. `collect` later passes the result of `work` to `then`."""
        torch.set_num_threads(1)  # the matrix library uses the last number set by any thread
        self.running += 1
        key = object()
        self._since[key] = time.monotonic()

        self._threads.submit(self._run, key, work, then)

    def start_long(self, work: Callable[[], Result], then: Callable[[Result], None]) -> None:
        """Run a long computation in parallel with the lanes and the caller, once the previous one has ended.

        As with `start`, `work` must not raise, and `collect` later passes the result of `work` to `then`.
        """
        torch.set_num_threads(1)
        self._long_count += 1

        def run() -> None:
            self._long_work = _LongWork()
            with torch.inference_mode():
                result = work()
            self._long_work = None
            self._end(False, result, then)

        self._long.submit(run)

    def _run(self, key: object, work: Callable[[], Result], then: Callable[[Result], None]) -> None:
        with torch.inference_mode():
            result = work()
        del self._since[key]
        self._end(True, result, then)

    def _end(self, lane: bool, result: Result, then: Callable[[Result], None]) -> None:
        self._finished.put((lane, lambda: then(result)))
        self._wake()

    def collect(self, *, wait: bool = False) -> None:
        """Pass each ready result to its `then` function. If `wait` is true, wait for the work in all lanes first."""
        while self.finished or (wait and self.running):
            self.collect_one()

    def collect_one(self) -> None:
        """Wait for the next result and pass it to its `then` function."""
        lane, then = self._finished.get()
        self.running -= lane
        self._long_count -= not lane
        then()

    def widen(self) -> None:
        """Allow the caller's thread to use all cores from now on, or all but one while long work is running.

        Must not be called while a lane is running.
        """
        assert not self.running
        torch.set_num_threads(max(1, self.count - min(1, self._long_count)))


def share(rows: Sequence[Row], steps: Sequence[int], count: int) -> list[Sequence[Row]]:
    """Split consecutive rows into at most `count` non-empty runs with about equal numbers of steps."""
    total = sum(steps)
    pieces: list[Sequence[Row]] = []
    start = 0
    for stop, done in enumerate(accumulate(steps), 1):
        following = steps[stop] if stop < len(steps) else 0
        # Start a new run at the first row whose middle step lies in the next of `count` equal shares of all steps.
        if len(pieces) + 1 < count and following and done + following / 2 > total * (len(pieces) + 1) / count:
            pieces.append(rows[start:stop])
            start = stop
    return [*pieces, rows[start:]]
