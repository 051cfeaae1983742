"""Quota levels in a small file that all API processes on a machine share.

If the file cannot be used, for example because the disk is read-only or full, each process keeps its own count.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import math
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

ENTRY = struct.Struct("<dd")
LOCK_SECONDS = 0.05  # the maximum wait: a process that was stopped while it held the lock must not stop the others
REST_SECONDS = 1.0  # seconds without waiting for the lock, after a wait has timed out
PAUSE_SECONDS = 0.0002  # lets the process that holds the lock run
CLOCK_SECONDS = 1.0  # tolerance for differences between the clocks of two processors
UNUSED_SECONDS = 86_400.0
PREFIX = "quotas-"
BOOT = Path("/proc/sys/kernel/random/boot_id")
log = logging.getLogger(__name__)


class Level(NamedTuple):
    """The amount of a quota that is left at the time `at` of the monotonic clock, which all processes share."""

    left: float
    at: float


class SharedLevels:
    """`count` levels, which are None until they are set. Not thread-safe.

    If `contents` changes (for example, because it lists other limits) or the machine restarts, a new file with new
    levels is created.
    """

    def __init__(self, folder: Path | None, count: int, contents: str, patience: float = LOCK_SECONDS) -> None:
        """`patience` is the maximum wait for a lock, in seconds."""
        self._patience, self._rest_until = patience, 0.0
        self._own: list[Level | None] = [None] * count
        self._file: int | None = None
        if folder is not None:
            try:
                self._file = _opened(folder, contents, count)
            except OSError as error:
                _warn(error)

    def __getitem__(self, slot: int) -> Level | None:
        """Return a level. If the file has no valid level, returns the level that this process keeps."""
        if self._file is not None:
            try:
                entry = os.pread(self._file, ENTRY.size, slot * ENTRY.size)
            except OSError as error:
                self._leave(error)
            else:
                level = Level(*ENTRY.unpack(entry)) if len(entry) == ENTRY.size else None
                if level is not None and _possible(level):
                    return level
        return self._own[slot]

    def __setitem__(self, slot: int, level: Level) -> None:
        self._own[slot] = level
        if self._file is not None:
            try:
                os.pwrite(self._file, ENTRY.pack(*level), slot * ENTRY.size)
            except OSError as error:
                self._leave(error)

    def _leave(self, error: OSError) -> None:
        """Stop using the file: if levels cannot be stored in it, each request would find a full quota."""
        _warn(error)
        self.close()

    @contextmanager
    def locked(self, slot: int) -> Iterator[None]:
        """Exclude other processes while a level is read and written, unless one of them keeps the lock too long."""
        is_locked = self._file is not None and self._lock(self._file, slot)
        try:
            yield
        finally:
            if is_locked and self._file is not None:
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


def _warn(error: OSError) -> None:
    log.warning("each API process counts the use of quotas separately: %s", error.strerror)


def _possible(level: Level) -> bool:
    """Whether a level could have been stored. Levels with a future time or with only zeros are never stored."""
    return 0 < level.at <= time.monotonic() + CLOCK_SECONDS and 0 <= level.left < math.inf


def _opened(folder: Path, contents: str, count: int) -> int:
    """Open the file for these contents, with space for all levels, and remove files that were unused for a day."""
    boot = BOOT.read_text() if BOOT.exists() else ""
    name = PREFIX + hashlib.sha256((boot + contents).encode()).hexdigest()[:16]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for other in folder.glob(f"{PREFIX}*"):
        with suppress(FileNotFoundError):  # another process may have removed the file
            if other.name != name and other.stat().st_mtime < time.time() - UNUSED_SECONDS:
                other.unlink()
    file = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if hasattr(os, "posix_fallocate"):  # macOS lacks it
            os.posix_fallocate(file, 0, count * ENTRY.size)  # fails if the disk is full, unlike `ftruncate`
        else:
            os.ftruncate(file, count * ENTRY.size)
    except OSError:
        os.close(file)
        raise
    return file
