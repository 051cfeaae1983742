"""Restricts the files, connections and processes that this process can reach, by means of Linux's Landlock.

Source: https://docs.kernel.org/userspace-api/landlock.html
"""

from __future__ import annotations

import ctypes
import os
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import app
import models

OLDEST = 2  # the first version of Landlock that can allow a file to be moved to another folder
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc", "/opt", "/nix", "/proc", "/sys")
DEVICES = "/dev"
CUDA = Path("/dev/nvidiactl")
_CREATE, _ADD, _RESTRICT = 444, 445, 446  # numbers of the system calls, the same on all processors
_VERSION, _PATH_BENEATH, _NO_NEW_PRIVILEGES = 1, 1, 38
# Rights to files, as bits. Each version of Landlock knows those of the earlier ones.
_EXECUTE, _WRITE, _READ, _LIST, _TRUNCATE, _CONTROL = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 14, 1 << 15
_READING = _EXECUTE | _READ | _LIST
_OF_A_FILE = _EXECUTE | _WRITE | _READ | _TRUNCATE | _CONTROL
_RIGHTS = {2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
_TCP = 0b11  # to bind a port, and to connect to one; since version 4
_SCOPES = 0b11  # abstract UNIX sockets and signals; since version 6


def enter(folder: Path, device: str = "cpu") -> bool:
    """Deny this process and its children most of the machine, and return whether the system supports it.

    They can change files only in `folder`, and can read only system files and the files of Python. They cannot use TCP,
    nor send signals to other processes. Temporary files are created in `folder`. Files that are open remain usable.

    Must be called before the process starts threads. Does nothing if the process may use `device` "cuda", because the
    files that the driver needs are not known.
    """
    version = _version()
    if version < OLDEST or (device != "cpu" and CUDA.exists()):
        return False
    folder = folder.resolve()
    rights = _RIGHTS[min(version, max(_RIGHTS))]
    libc = ctypes.CDLL(None, use_errno=True)
    rules = libc.syscall(_CREATE, *_attributes(version, rights), 0)
    if rules < 0:
        return False
    try:
        for path in _readable():
            # In a folder that contains `folder`, programs find Python's packages, but the data folder may be there too.
            _allow(libc, rules, path, _LIST if folder.is_relative_to(path) else _READING)
        for path in (Path(DEVICES), folder):
            _allow(libc, rules, path, rights)
        libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
        if libc.syscall(_RESTRICT, rules, 0) != 0:
            return False
    finally:
        os.close(rules)
    tempfile.tempdir = str(folder)
    return True


def _version() -> int:
    """Return the version of Landlock that the system supports, or 0."""
    if sys.platform != "linux":
        return 0
    return max(0, int(ctypes.CDLL(None).syscall(_CREATE, None, 0, _VERSION)))


def _attributes(version: int, rights: int) -> tuple[ctypes.Array[ctypes.c_uint64], int]:
    """Return the structure `landlock_ruleset_attr` and its size in bytes. Older systems know a part of it."""
    values = [rights]
    if version >= 4:
        values.append(_TCP)
    if version >= 6:
        values.append(_SCOPES)
    return (ctypes.c_uint64 * len(values))(*values), 8 * len(values)


def _readable() -> Iterator[Path]:
    """Yield the system's folders and Python's."""
    yield from (Path(path) for path in SYSTEM)
    packages = (Path(path) for module in (app, models) for path in module.__path__)
    libraries = os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)
    python = (sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix, *sysconfig.get_paths().values())
    yield from _existing((*packages, *sys.path, *libraries, *python))


def _existing(paths: Iterable[str | Path]) -> Sequence[Path]:
    return list(dict.fromkeys(Path(path).resolve() for path in paths if str(path) and Path(path).exists()))


def _allow(libc: ctypes.CDLL, rules: int, path: Path, rights: int) -> None:
    """Allow `rights` to all files below `path`, which need not exist."""
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        rights = rights if path.is_dir() else rights & _OF_A_FILE
        # the structure `landlock_path_beneath_attr`, which is packed: rights in 8 bytes, and a descriptor in 4
        attributes = rights.to_bytes(8, sys.byteorder) + descriptor.to_bytes(4, sys.byteorder)
        libc.syscall(_ADD, rules, _PATH_BENEATH, attributes, 0)
    finally:
        os.close(descriptor)
