"""Prepares `ostinato up`: finds a free port, creates the folders and locks the data folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from app.binding import address_of
from app.errors import OstinatoError
from app.settings import Settings
from app.wire import socket_folder


class StartRefused(OstinatoError):
    """The service cannot be started. The message explains what to change."""

    code = "start_refused"


def find_port(settings: Settings) -> int:
    """Return the API's configured port or, if it is 0, a free port. Raises StartRefused if the port is taken."""
    family, address = address_of(settings)
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            raise StartRefused(
                f"cannot listen on {settings.host}:{settings.port} ({error.strerror}); "
                "stop the program that uses this port, or choose another port with --port"
            ) from None
        return int(probe.getsockname()[1])


def prepare_folders(settings: Settings) -> None:
    """Create the data, run and socket folders. Raises StartRefused on failure, and NotPrivate if a folder is unsafe."""
    try:
        for folder in (settings.data, settings.run_dir, settings.run_dir / "trainers"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        socket_folder.make(settings.socket_dir)
    except OSError as error:
        raise StartRefused(
            f"cannot create {error.filename}: {error.strerror}; choose another folder with --data-dir"
        ) from None


@contextlib.contextmanager
def lock(run_dir: Path) -> Iterator[None]:
    """Lock the data folder, so that no second launcher can use it.

    Raises StartRefused if another process holds the lock. The lock is an `flock`, which the system releases when its
    holder exits, so no stale lock can remain.
    """
    with (run_dir / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            raise StartRefused(
                f"`ostinato up` is already running on {run_dir.parent} (process {file.read().strip() or 'unknown'}); "
                "stop it first, or choose another folder with --data-dir"
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
