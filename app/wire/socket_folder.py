"""The folder of the engines' sockets: nobody else's, for whoever owns a socket there is believed to be an engine.

It may lie in the folder for temporary files, where strangers can be there first.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from app.errors import OstinatoError


class NotPrivate(OstinatoError):
    """Somebody else could put a socket there."""


def make(folder: Path) -> None:
    """Make it where it is missing, and close it to others. Raises NotPrivate where it is not ours."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _check_owner(folder, folder.lstat())
    folder.chmod(0o700)


def check(folder: Path) -> None:
    """Raises NotPrivate where it is not ours, or others may write there; FileNotFoundError."""
    found = folder.lstat()
    _check_owner(folder, found)
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise NotPrivate(f"{folder} must be for its owner alone, but others may write there; chmod 700 it")


def _check_owner(folder: Path, found: os.stat_result) -> None:
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise NotPrivate(
            f"{folder} must be a folder of user {os.getuid()}, who runs this, but it is a link or somebody else's; "
            "remove it, or set OSTINATO_DATA_DIR to another folder"
        )
