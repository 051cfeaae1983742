"""The levels of quotas in a small file, which all API processes of a machine share.

If the file cannot be used, for example because the disk is read-only, each process counts for itself.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

ENTRY = struct.Struct("<dd")
LOCK_SECONDS = 0.05  # a process that was stopped while it held the lock must not stop the others
REST_SECONDS = 1.0  # for which nobody waits for a lock again after that
PAUSE_SECONDS = 0.0002  # lets the process that holds the lock run
PREFIX = "quotas-"
BOOT = Path("/proc/sys/kernel/random/boot_id")
log = logging.getLogger(__name__)


class Level(NamedTuple):
    """What is left of a quota at a time of the machine's monotonic clock, which all processes share."""

    left: float
    at: float


class SharedLevels:
    """`count` levels, which are None until they are set. Not thread-safe.

    Other `contents`, such as other limits, or another start of the machine, lead to another file, with new levels.
    """

    def __init__(self, folder: Path | None, count: int, contents: str, patience: float = LOCK_SECONDS) -> None:
        """`patience` is the time in seconds for which a lock is waited for."""
        self._patience, self._rest_until = patience, 0.0
        self._own: list[Level | None] = [None] * count
        self._file: int | None = None
        if folder is not None:
            try:
                self._file = _opened(folder, contents, count)
            except OSError as error:
                log.warning("each API process counts the use of quotas separately: %s: %s", folder, error.strerror)

    def __getitem__(self, slot: int) -> Level | None:
        if self._file is not None:
            with suppress(OSError):
                level = Level(*ENTRY.unpack(os.pread(self._file, ENTRY.size, slot * ENTRY.size)))
                return level if level.at else None
        return self._own[slot]

    def __setitem__(self, slot: int, level: Level) -> None:
        self._own[slot] = level
        if self._file is not None:
            with suppress(OSError):
                os.pwrite(self._file, ENTRY.pack(*level), slot * ENTRY.size)

    @contextmanager
    def locked(self, slot: int) -> Iterator[None]:
        """Exclude other processes while a level is read and written, unless one of them keeps the lock too long."""
        held = self._file is not None and self._lock(self._file, slot)
        try:
            yield
        finally:
            if held and self._file is not None:
                fcntl.lockf(self._file, fcntl.LOCK_UN, ENTRY.size, slot * ENTRY.size)

    def _lock(self, file: int, slot: int) -> bool:
        now = time.monotonic()
        until = now + self._patience if now >= self._rest_until else now
        while True:
            with suppress(OSError):
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, ENTRY.size, slot * ENTRY.size)
                return True
            if time.monotonic() > until:
                self._rest_until = time.monotonic() + REST_SECONDS
                return False
            time.sleep(PAUSE_SECONDS)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _opened(folder: Path, contents: str, count: int) -> int:
    """Open the file for these contents, with room for all levels, and remove the files for others."""
    boot = BOOT.read_text() if BOOT.exists() else ""
    name = PREFIX + hashlib.sha256((boot + contents).encode()).hexdigest()[:16]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for other in folder.glob(f"{PREFIX}*"):
        if other.name != name:
            other.unlink(missing_ok=True)
    file = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if os.fstat(file).st_size < count * ENTRY.size:
        os.ftruncate(file, count * ENTRY.size)
    return file
