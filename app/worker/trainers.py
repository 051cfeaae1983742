"""The trainers of this machine, each listed in a file for whoever watches the programs: `<run>/trainers/<job>.json`.

Knows files and process ids. What is listed is believed only as far as the process looks like the trainer of that run.
"""

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

PROCESSES = Path("/proc")  # Linux; elsewhere `ps` tells


@contextmanager
def listed(trainers: Path, job_id: str, attempt: int, pid: int) -> Iterator[None]:
    """List a trainer while it runs."""
    trainers.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = trainers / f"{job_id}.json"
    entry = {"program": "trainer", "pid": pid, "started_at": time.time(), "job": job_id, "attempt": attempt}
    write_json(path, entry)
    try:
        yield
    finally:
        if _read(path).get("pid") == pid:  # a later attempt may have taken the place
            path.unlink(missing_ok=True)


def sweep(trainers: Path) -> None:
    """Remove the entries of trainers that are no more: their workers were killed."""
    for path in trainers.glob("*.json"):
        pid = _read(path).get("pid")
        if not (isinstance(pid, int) and _command(pid)):
            path.unlink(missing_ok=True)


def end_stray(trainers: Path, job_id: str, run: Path) -> None:
    """Kill the trainer that an earlier attempt left in a run, if it is still there and will not end by itself."""
    pid = _read(trainers / f"{job_id}.json").get("pid")
    if isinstance(pid, int) and os.fsencode(run) in _command(pid):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError):
        return {}
    return found if isinstance(found, dict) else {}


def _command(pid: int) -> bytes:
    """The command line of a process; empty where there is none."""
    if not PROCESSES.is_dir():
        return subprocess.run(["ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, check=False).stdout
    try:
        return (PROCESSES / str(pid) / "cmdline").read_bytes()
    except OSError:
        return b""
