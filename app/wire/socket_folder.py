"""The folder for the engines' sockets. The folder must be private, because every socket in it is treated as an engine.

The folder may be inside the system's temporary folder, where another user could create it first.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from app.errors import OstinatoError


class NotPrivate(OstinatoError):
    """The folder is not private: another user could create a socket in it."""


def make(folder: Path) -> None:
    """Create the folder if necessary, and make it private. Raises NotPrivate if another user owns the folder."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _check_owner(folder, folder.lstat())
    folder.chmod(0o700)


def check(folder: Path) -> None:
    """Raise NotPrivate if another user can write to the folder, or FileNotFoundError if it is missing."""
    status = folder.lstat()
    _check_owner(folder, status)
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise NotPrivate(f"{folder} must be private, but other users can write to it; run chmod 700 on it")


def _check_owner(folder: Path, status: os.stat_result) -> None:
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise NotPrivate(
            f"{folder} must be a folder owned by user {os.getuid()}, who runs this program, but it is not a "
            "folder or belongs to another user; remove it, or set OSTINATO_DATA_DIR to another folder"
        )
