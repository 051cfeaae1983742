"""Reads the events that a trainer appends to a file, as JSON lines."""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from app.wire.trainer import TrainEvent

log = logging.getLogger(__name__)
READ_BYTES = 2**20


class EventFile:
    """Reads a growing file and returns each complete line once. The file may not exist yet."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._decoder: msgspec.json.Decoder[TrainEvent] = msgspec.json.Decoder(TrainEvent)

    def read(self) -> list[TrainEvent]:
        """Read the next events, up to about 1 MiB of them. Returns an empty list if there are no new events."""
        events: list[TrainEvent] = []
        size = READ_BYTES
        while not events:
            chunk = self._chunk(size)
            lines, newline, _ = chunk.rpartition(b"\n")  # the part after the last newline is still being written
            if newline:
                self._offset += len(lines) + 1
                events = [event for line in lines.split(b"\n") if (event := self._decode(line)) is not None]
            elif len(chunk) < size:
                break
            else:
                size *= 2  # the next line is longer than the chunk
        return events

    def _chunk(self, size: int) -> bytes:
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                return file.read(size)
        except FileNotFoundError:
            return b""

    def _decode(self, line: bytes) -> TrainEvent | None:
        # A line that this version cannot decode must not stop the job.
        try:
            return self._decoder.decode(line)
        except msgspec.MsgspecError as error:
            log.warning("%s: skipping a line that is not an event: %s", self._path.name, error)
            return None
