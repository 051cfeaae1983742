"""Lets the caller of a network stop a long computation between two of its parts, such as layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class ComputationStopped(Exception):
    """The computation was stopped, because its result is no longer needed."""


def _never() -> bool:
    return False


_stop: ContextVar[Callable[[], bool]] = ContextVar("stop", default=_never)  # each thread has its own value


@contextmanager
def interruptible(stop: Callable[[], bool]) -> Iterator[None]:
    """During the block, stop this thread's computations as soon as `stop` returns true."""
    token = _stop.set(stop)
    try:
        yield
    finally:
        _stop.reset(token)


def check() -> None:
    """Raise ComputationStopped if the caller wants to stop. Networks call this between two parts of a computation."""
    if _stop.get()():
        raise ComputationStopped
