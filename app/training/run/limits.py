"""Limits the resources and the privileges of the trainer, and disables its network."""

from __future__ import annotations

import ctypes
import os
import resource
from contextlib import suppress
from pathlib import Path

GIB = 2**30
SLACK = 2 * GIB  # memory that libraries and the stacks of threads reserve but hardly use
LARGEST_FILE = 64 * GIB  # bytes; the limit is four times the limit on memory if that is more
PROCESSES = 4096  # processes and threads of this user, in addition to those that exist
FIRST_TO_END = 500  # added to the score by which the system chooses a process to kill if memory runs out
GRACE_SECONDS = 5  # processor time between SIGXCPU, which a program may ignore, and SIGKILL
_NEWUSER, _NEWNET = 0x10000000, 0x40000000  # flags of unshare(2)
_NO_NEW_PRIVILEGES, _CAPABILITIES_3 = 38, 0x20080522  # an option of prctl(2), and a version of capset(2)
_FILE_ACCESS = 0b110  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH


def confine(memory: int, processor_seconds: int = 0) -> None:
    """Limit the size of files, the number of processes and the processor time; disable the network and drop all
    privileges.

    If memory runs out, the system kills this process first. After `processor_seconds` (unless 0), the system ends this
    process with SIGXCPU. Each program that this process starts has its own limit of the same number of seconds.

    Must be called before the process starts threads. Limits that the system does not support are skipped.
    """
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(FIRST_TO_END))
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_FSIZE, max(LARGEST_FILE, 4 * memory))
    _lower(resource.RLIMIT_NPROC, _tasks() + PROCESSES)
    if processor_seconds:
        _lower(resource.RLIMIT_CPU, processor_seconds, GRACE_SECONDS)
    _leave_network()
    _drop_privileges()


def limit_memory(memory: int) -> None:
    """Limit the memory that the process may reserve.

    Not used with CUDA, because CUDA reserves far more memory than it uses.
    """
    _lower(resource.RLIMIT_DATA, memory + SLACK)


def _lower(kind: int, value: int, more: int = 0) -> None:
    """Set a resource's soft limit to `value`, and its hard limit to `value + more`. Never raises the hard limit."""
    _, hard = resource.getrlimit(kind)
    soft, value = (v if hard == resource.RLIM_INFINITY else min(v, hard) for v in (value, value + more))
    with suppress(OSError, ValueError):
        resource.setrlimit(kind, (soft, value))


def _tasks() -> int:
    """Return the number of threads in all of this user's processes, which count towards the limit."""
    tasks, user = 0, os.getuid()
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if path.stat().st_uid == user:
                tasks += len(list((path / "task").iterdir()))
    return tasks


def _drop_privileges() -> None:
    """Drop root's capabilities, and the right to gain privileges from programs such as sudo.

    The user of the process does not change. A process of root can still access all files, because the data folder may
    belong to another user.
    """
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
        header = (ctypes.c_uint32 * 2)(_CAPABILITIES_3, 0)
        # the effective, permitted and inheritable sets, each for low and high capability numbers
        sets = (ctypes.c_uint32 * 6)()
        if libc.capget(header, sets) == 0:
            libc.capset(header, (ctypes.c_uint32 * 6)(*(bits & _FILE_ACCESS for bits in sets[:2])))


def _leave_network() -> None:
    """Move this process into a network namespace without interfaces, if necessary within a user namespace."""
    user, group = os.getuid(), os.getgid()
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(_NEWNET) == 0 or libc.unshare(_NEWUSER | _NEWNET) != 0:
            return
        # Map the ids to themselves, so that files belong to the same user as before.
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
