"""Stores measurements of this machine as JSON files, so that each measurement is made only once. Imports no torch."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import msgspec

from app.checkpoint.directory import write_bytes

logger = logging.getLogger(__name__)
FILES = 4096  # maximum number of stored measurements in one folder; the oldest are removed
T = TypeVar("T")


class Measurements:
    """The measurements in one folder. Each measurement is identified by a string. Processes can share the folder.

    Without a folder, nothing is stored. Files that cannot be read are treated as missing.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def load(self, key: str, type_: type[T]) -> T | None:
        """Return the measurement with this key, or None if no measurement of this type is stored under it."""
        if self._folder is None:
            return None
        try:
            value = msgspec.json.decode(self._path(key).read_bytes(), type=type_)
        except (OSError, msgspec.MsgspecError, ValueError, RecursionError):
            return None
        with suppress(OSError):
            os.utime(self._path(key))  # a measurement in use must not be among the oldest, which are removed
        return value

    def save(self, key: str, value: msgspec.Struct) -> bool:
        """Store a measurement. Returns False if the folder cannot be written to."""
        if self._folder is None:
            return False
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_bytes(self._path(key), json.dumps(msgspec.to_builtins(value), sort_keys=True).encode())
            files = sorted(self._folder.glob("*.json"), key=_modified)
            for path in files[:-FILES]:
                path.unlink(missing_ok=True)
        except OSError as error:
            logger.warning("a measurement of this machine could not be stored: %s", error)
            return False
        return True

    def remove(self, key: str) -> None:
        """Remove a measurement, if it is stored."""
        if self._folder is not None:
            with suppress(OSError):
                self._path(key).unlink()

    def _path(self, key: str) -> Path:
        assert self._folder is not None
        return self._folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # another process has removed it
        return 0.0
