"""The trainer's voice: one JSON line an event on a file descriptor of its own.

Every event has a (kind, step) that follows from the training alone, so that a replay after a kill repeats the keys of
what was said before. Knows nothing of who listens; a listener that has gone away ends the process by the lease.
"""

from __future__ import annotations

import logging
import os
import threading
from typing import Any

import msgspec

from app.wire.trainer import Note, TrainEvent

log = logging.getLogger(__name__)
LEVELS = {"warn": logging.WARNING, "error": logging.ERROR}


class Events:
    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor
        self._encoder = msgspec.json.Encoder()
        self._lock = threading.Lock()

    def emit(self, event: TrainEvent) -> None:
        line = self._encoder.encode(event) + b"\n"
        with self._lock:
            if self._descriptor is not None:
                _write_all(self._descriptor, line)
        level = LEVELS.get(event.level, logging.INFO) if isinstance(event, Note) else logging.INFO
        log.log(level, "%s", _for_people(event))

    def note(self, kind: str, step: int, message: str, level: str = "info", **data: Any) -> None:
        self.emit(Note(kind, step, level, message, data))


def _write_all(descriptor: int, line: bytes) -> None:
    view = memoryview(line)
    while view:
        view = view[os.write(descriptor, view) :]


def _for_people(event: TrainEvent) -> str:
    values = msgspec.to_builtins(event)
    values.pop("type", None)
    if isinstance(event, Note):
        return event.message
    return f"{type(event).__name__}: " + ", ".join(f"{key}={value}" for key, value in values.items())
