"""Shares a task's result among several callers. Each caller receives its own exception object."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from app.errors import Unavailable

K = TypeVar("K")
T = TypeVar("T")
E = TypeVar("E", bound=BaseException)


class StillRunning(Exception):
    """Raised in a caller if the shared task has not finished within the caller's waiting time."""


class SharedTasks(Generic[K, T]):
    """Runs at most one task per key. A task continues even if its callers stop waiting."""

    def __init__(self) -> None:
        self._tasks: dict[K, asyncio.Task[T]] = {}

    def __len__(self) -> int:
        return len(self._tasks)

    def __contains__(self, key: K) -> bool:
        return key in self._tasks

    async def run(self, key: K, work: Callable[[], Coroutine[Any, Any, T]], patience: float | None = None) -> T:
        """Return the result of the task for `key`. Starts the task if it is not running.

        Raises a copy of the task's exception in each caller, or StillRunning after `patience` seconds.
        """
        task = self._tasks.get(key)
        if task is None:
            task = self._tasks[key] = asyncio.get_running_loop().create_task(work())
            task.add_done_callback(lambda done: self._end(key, done))
        # Do not `await task`: this would cancel the task together with its caller, and raise the same exception object
        # in all callers.
        await asyncio.wait({task}, timeout=patience)
        if not task.done():
            raise StillRunning
        if task.cancelled():
            raise Unavailable("the service is stopping; try again", retry_after=1.0)
        error = task.exception()
        if error is None:
            return task.result()
        own = duplicate(error)
        raise own from None if own is error else error

    def _end(self, key: K, task: asyncio.Task[T]) -> None:
        self._tasks.pop(key, None)
        if not task.cancelled():
            task.exception()  # retrieve the exception, so that asyncio does not report it if no caller is waiting

    async def close(self) -> None:
        """Cancel all tasks and wait for them to end."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def duplicate(error: E) -> E:
    """Copy an exception without its traceback and context, which would grow if several tasks raised the same object."""
    try:
        return copy.copy(error)
    except Exception:  # the constructor of the class does not accept the exception's own arguments
        return error
