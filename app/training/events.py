"""Writes the trainer's events to a file descriptor, one JSON line per event.

An event is identified by its kind and step, which depend only on the training steps. Therefore, if an attempt is killed
and the next attempt repeats some steps, the events of these steps have the same keys as before.
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
    """Sends events to the worker and logs them. Without a descriptor, events are only logged. Thread-safe."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor
        self._encoder = msgspec.json.Encoder()
        self._lock = threading.Lock()

    def emit(self, event: TrainEvent) -> None:
        """Send and log an event."""
        line = self._encoder.encode(event) + b"\n"
        with self._lock:
            if self._descriptor is not None:
                _write_all(self._descriptor, line)
        level = LEVELS.get(event.level, logging.INFO) if isinstance(event, Note) else logging.INFO
        log.log(level, "%s", _to_text(event))

    def note(self, kind: str, step: int, message: str, level: str = "info", **data: Any) -> None:
        """Send a message for users, with machine-readable `data`."""
        self.emit(Note(kind, step, level, message, data))


def _write_all(descriptor: int, line: bytes) -> None:
    view = memoryview(line)
    while view:  # a pipe may accept only part of the line
        view = view[os.write(descriptor, view) :]


def _to_text(event: TrainEvent) -> str:
    values = msgspec.to_builtins(event)
    values.pop("type", None)
    if isinstance(event, Note):
        return event.message
    return f"{type(event).__name__}: " + ", ".join(f"{key}={value}" for key, value in values.items())
