"""The list of running programs, `<data>/run/programs.json`, which the launcher writes.

Trainers and batch programs are children of the worker, which writes one file for each of them,
`<data>/run/trainers/<job>.json`. A file is ignored unless its process is running and is a trainer or a batch program.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import msgspec

from app.errors import OstinatoError

NAME = "programs.json"
SETTLED_NS = 2 * 10**9
CHILDREN = {"trainer": b"app.training", "batch": b"app.batches"}  # the modules of the programs that workers start


class Program(msgspec.Struct, frozen=True):
    """One running process. `started_at` is in Unix seconds.

    `job` and `attempt` are set only for trainers and batch programs, and `parent` only for trainers of trials. `url`,
    the address at which programs on this machine reach the API, is set only for the API.
    """

    program: str  # api | engine | worker | trainer | batch
    pid: int
    started_at: float
    restarts: int = 0
    job: str | None = None
    attempt: int | None = None
    url: str | None = None
    parent: str | None = None  # id of the job to which the trial `job` belongs


def alive(pid: int) -> bool:
    """Whether a process with this id is running. A zombie does not count as running."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return _state(pid) != "Z"


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""


def _runs(module: bytes, pid: int) -> bool:
    """Whether a process runs this module, according to its command line.

    Process ids are reused and differ between containers.
    """
    try:
        return module in Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return not Path("/proc").is_dir()
    except OSError:
        return False


class Trainers:
    """The trainers and batch programs that this machine's workers list. If there are none, reading the list takes one
    system call.
    """

    def __init__(self, run_dir: Path) -> None:
        self._folder = run_dir / "trainers"
        self._empty: int | None = None  # the folder's modification time when it was last found empty

    def read(self) -> list[Program]:
        """Return the trainers and batch programs that are running."""
        try:
            changed = os.stat(self._folder).st_mtime_ns
        except OSError:
            return []
        if changed == self._empty:
            return []
        paths = sorted(self._folder.glob("*.json"))
        # The folder's modification time has a limited resolution, so a file that was added just after a change may not
        # alter it. The folder is therefore treated as empty only some time after its last change.
        settled = not paths and time.time_ns() - changed > SETTLED_NS
        self._empty = changed if settled else None
        return [trainer for path in paths if (trainer := _trainer(path)) is not None]


def _trainer(path: Path) -> Program | None:
    try:
        trainer = msgspec.convert({"program": "trainer", **json.loads(path.read_bytes())}, Program)
    except (OSError, ValueError, TypeError, msgspec.ValidationError):
        return None  # the file is deleted or half written; the next call reads it again
    module = CHILDREN.get(trainer.program)
    return trainer if module is not None and alive(trainer.pid) and _runs(module, trainer.pid) else None


def write(run_dir: Path, programs: list[Program]) -> None:
    """Replace the list of running programs atomically."""
    temporary = run_dir / f".{NAME}.{os.getpid()}"
    temporary.write_bytes(msgspec.json.format(msgspec.json.encode(programs), indent=2) + b"\n")
    os.replace(temporary, run_dir / NAME)


def read(run_dir: Path) -> list[Program]:
    """Return the listed programs that are still running. Raises OstinatoError if the list exists but is unreadable."""
    try:
        listed = msgspec.json.decode((run_dir / NAME).read_bytes(), type=list[Program])
    except FileNotFoundError:
        return []
    except (OSError, msgspec.DecodeError) as error:
        raise OstinatoError(f"the list of programs ({run_dir / NAME}) cannot be read: {error}") from None
    return [program for program in listed if alive(program.pid)]


def api_url(run_dir: Path) -> str | None:
    """Return the URL of the API that `ostinato up` runs on this data folder, or None if no running API is listed."""
    try:
        listed = read(run_dir)
    except OstinatoError:
        return None
    return next((program.url for program in listed if program.url), None)
