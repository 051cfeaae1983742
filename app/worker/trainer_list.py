"""Lists the trainers running on this machine, in one file per trainer, `<run>/trainers/<job>.json`."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from app.checkpoint.directory import write_json

PROCESSES = Path("/proc")  # available only on Linux; on other systems, command lines are read with `ps`


class TrainerList:
    """A folder with one entry per trainer.

    An entry may remain after its trainer has exited, and the operating system may reuse the process id. A process is
    therefore killed only if it is in the list and its command line contains the run directory's path.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def listed(
        self, job_id: str, attempt: int, pid: int, parent: str | None = None, program: str = "trainer"
    ) -> Iterator[None]:
        """Context manager that keeps a trainer, or another `program`, in the list until the end of the block.

        `parent` is the job that a trial belongs to.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        entry = {"program": program, "pid": pid, "started_at": time.time(), "job": job_id, "attempt": attempt}
        entry |= {} if parent is None else {"parent": parent}
        write_json(self._path(job_id), entry)
        try:
            yield
        finally:
            # If this worker was frozen, the entry may now belong to a later attempt, which must stay in the list.
            if _read(self._path(job_id)).get("pid") == pid:
                self._path(job_id).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove the entries of trainers that have exited. Killed workers leave such entries."""
        for path in self.folder.glob("*.json"):
            pid = _read(path).get("pid")
            if not (isinstance(pid, int) and _command_line(pid)):
                path.unlink(missing_ok=True)

    def kill_stray(self, job_id: str, run: Path) -> None:
        """Kill an earlier attempt's trainer that is still running in a run directory."""
        pid = _read(self._path(job_id)).get("pid")
        if isinstance(pid, int) and os.fsencode(run) in _command_line(pid):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)

    def _path(self, job_id: str) -> Path:
        return self.folder / f"{job_id}.json"


def _read(path: Path) -> dict[str, Any]:
    try:
        entry = msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError):
        return {}
    return entry if isinstance(entry, dict) else {}


def _command_line(pid: int) -> bytes:
    """Return the command line of a process, or empty bytes if there is no such process."""
    if not PROCESSES.is_dir():
        return subprocess.run(["ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, check=False).stdout
    try:
        return (PROCESSES / str(pid) / "cmdline").read_bytes()
    except OSError:
        return b""
