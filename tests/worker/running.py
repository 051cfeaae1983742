"""Runs a worker in a thread of the test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from app.storage.errors import StorageUnavailable
from app.worker.resources import Resources
from app.worker.worker import TRAINING, Lane, Worker
from tests.jobs.fixtures import Queue

LONG = {"steps": 2000, "step_seconds": 0.02}  # so many steps that no test runs them all


@contextmanager
def working(resources: Resources, lane: Lane = TRAINING) -> Iterator[Worker]:
    """Context manager with a running worker, which is stopped at the end of the block."""
    worker = Worker(resources, "here", lane)
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield worker
    finally:
        worker.stop()
        thread.join(30)
        assert not thread.is_alive()


def reached(queue: Queue, job: Any, step: int = 3) -> Callable[[], bool]:
    """Return a condition for `until`: the job's log contains the metrics of this number of steps."""
    return lambda: len(queue.steps(job)) >= step


def unavailable(*_: object) -> None:
    """Replaces a method of the blob store with one that fails."""
    raise StorageUnavailable("unavailable", retry_after=1.0)
