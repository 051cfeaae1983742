"""Limits the trainer's memory, file sizes and processes, and disables its network access."""

from __future__ import annotations

import ctypes
import os
import resource
from contextlib import suppress
from pathlib import Path

GIB = 2**30
SLACK = 2 * GIB  # for libraries and the stacks of threads, which are reserved but hardly used
LARGEST_FILE = 64 * GIB  # bytes, at least
PROCESSES = 4096  # further processes and threads of this user
FIRST_TO_END = 500  # added to the score by which the system chooses a process to kill when memory runs out
_NEWUSER, _NEWNET = 0x10000000, 0x40000000  # flags of unshare(2)


def confine(memory: int) -> None:
    """Limit files and processes, disable network access, and let the system kill this process first if memory runs out.

    Must be called before the process starts threads. Limits that the system does not support are skipped.
    """
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(FIRST_TO_END))
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_FSIZE, max(LARGEST_FILE, 4 * memory))
    _lower(resource.RLIMIT_NPROC, _tasks() + PROCESSES)
    _leave_network()


def limit_memory(memory: int) -> None:
    """Limit the memory that the process may reserve.

    Not used with CUDA, which reserves far more memory than it uses.
    """
    _lower(resource.RLIMIT_DATA, memory + SLACK)


def _lower(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    with suppress(OSError, ValueError):
        resource.setrlimit(kind, (value, value))


def _tasks() -> int:
    """Return the number of threads in all of this user's processes, which count towards the limit."""
    tasks, user = 0, os.getuid()
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if path.stat().st_uid == user:
                tasks += len(list((path / "task").iterdir()))
    return tasks


def _leave_network() -> None:
    """Move this process into a network namespace without interfaces, if necessary within a user namespace."""
    user, group = os.getuid(), os.getgid()
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(_NEWNET) == 0 or libc.unshare(_NEWUSER | _NEWNET) != 0:
            return
        # Keep the ids, so that files belong to the same user as before.
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
