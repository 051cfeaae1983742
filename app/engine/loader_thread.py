"""Loads versions in a separate thread, while the engine continues to answer requests."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.engine.loader import LoadedNetwork
from app.engine.reply import is_out_of_memory
from app.errors import CheckpointInvalid, OstinatoError, Unavailable
from app.wire.engine import Load

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LoadOutcome:
    """The outcome of a load: a network, or the error to send in reply to `message`. `seconds` is the loading time.

    `replaced` contains new networks for versions that have been loaded before, and now share a base with this version.
    """

    message: Load
    result: LoadedNetwork | OstinatoError
    seconds: float
    replaced: Sequence[LoadedNetwork] = ()


class Loader:
    """Loads one version after another in a daemon thread.

    `wake` is called in that thread when `collect` has outcomes to return.
    """

    def __init__(self, load: Callable[[Load], Sequence[LoadedNetwork]], wake: Callable[[], None]) -> None:
        """`load` returns the network of a version, followed by those for `LoadOutcome.replaced`."""
        self._load, self._wake = load, wake
        self._requests: queue.SimpleQueue[Load] = queue.SimpleQueue()
        self._outcomes: queue.SimpleQueue[LoadOutcome] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="loader", daemon=True).start()

    def submit(self, message: Load) -> None:
        """Queue a version for loading, and return immediately."""
        self._requests.put(message)

    def collect(self) -> list[LoadOutcome]:
        """Return the outcomes of the loads that have ended since the last call, in submission order."""
        outcomes = []
        while not self._outcomes.empty():
            outcomes.append(self._outcomes.get())
        return outcomes

    def _run(self) -> None:
        while True:
            self._outcomes.put(attempt(self._load, self._requests.get()))
            self._wake()


def attempt(load: Callable[[Load], Sequence[LoadedNetwork]], message: Load) -> LoadOutcome:
    """Load a version, and return the outcome even if there is an error."""
    start = time.monotonic()
    result: LoadedNetwork | OstinatoError
    replaced: Sequence[LoadedNetwork] = ()
    try:
        result, *replaced = load(message)
    except OstinatoError as error:
        result = error
    except Exception as error:  # any error: the engine must keep serving its other versions
        if is_out_of_memory(error):
            result = Unavailable(f"not enough memory to load {message.name}", code="out_of_memory")
        else:
            logger.exception("loading %s failed", message.name)
            result = CheckpointInvalid(f"{message.name} cannot be loaded ({type(error).__name__})")
    return LoadOutcome(message, result, time.monotonic() - start, replaced)
