"""The list of running programs, `<data>/run/programs.json`. Knows files and process ids; starts and stops nothing.

The launcher writes it. Trainers are children of the worker, which lists each in `<data>/run/trainers/<job>.json`;
what lies there is believed only as far as the process named is alive and is a trainer.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import msgspec

from app.errors import OstinatoError

NAME = "programs.json"


class Program(msgspec.Struct, frozen=True):
    """One live process. `job` and `attempt` belong to trainers."""

    program: str  # api | engine | worker | trainer
    pid: int
    started_at: float
    restarts: int = 0
    job: str | None = None
    attempt: int | None = None


def alive(pid: int) -> bool:
    """Whether a process runs under this id (a zombie does not)."""
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


def _is_trainer(pid: int) -> bool:
    """Process ids are used again, and mean other things in another container: look at what runs there."""
    try:
        return b"app.training" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return not Path("/proc").is_dir()
    except OSError:
        return False


def trainers(run_dir: Path) -> list[Program]:
    """The live trainers that workers on this machine have listed."""
    found = []
    for path in sorted((run_dir / "trainers").glob("*.json")):
        try:
            program = msgspec.convert({"program": "trainer", **json.loads(path.read_bytes())}, Program)
        except (OSError, ValueError, TypeError, msgspec.ValidationError):
            continue  # gone or half written: the next look will tell
        if alive(program.pid) and _is_trainer(program.pid):
            found.append(program)
    return found


def write(run_dir: Path, programs: list[Program]) -> None:
    """Replace the list, whole."""
    target = run_dir / NAME
    aside = run_dir / f".{NAME}.{os.getpid()}"
    aside.write_bytes(msgspec.json.format(msgspec.json.encode(programs), indent=2) + b"\n")
    os.replace(aside, target)


def read(run_dir: Path) -> list[Program]:
    """The listed programs that still live; empty where no launcher has ever run."""
    try:
        listed = msgspec.json.decode((run_dir / NAME).read_bytes(), type=list[Program])
    except FileNotFoundError:
        return []
    except (OSError, msgspec.DecodeError) as error:
        raise OstinatoError(f"the list of programs, {run_dir / NAME}, cannot be read: {error}") from None
    return [program for program in listed if alive(program.pid)]
