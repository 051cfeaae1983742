"""Checkpoints as directories on this machine, for programs that need paths.

Knows hashes and files; knows no registry. A directory is there whole or not at all, and what it holds is checked.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock

from app.checkpoint.directory import FileEntry, allowed, digest, manifest, sync_directory
from app.errors import CheckpointInvalid
from app.storage.blobs import BlobStore

LEFTOVER_SECONDS = 86_400.0
IN_USE_SECONDS = 600.0  # after which nobody still reads the directory that it was given
Signature = tuple[tuple[str, int, int, int], ...]  # (path, inode, bytes, time of change in ns)


class LocalCache:
    """One per process; several processes may share `root`.

    Of more than `limit` bytes, the checkpoints go that nobody has asked for for the longest time.
    """

    def __init__(self, root: Path, blobs: BlobStore, limit: int = 2**63) -> None:
        self._root, self._blobs, self._limit = root, blobs, limit
        self._known: dict[str, Signature] = {}  # what this process has hashed, and how it looked then
        self._lock = Lock()
        for folder in (root, root / "locks", root / "partial"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for remains in (root / "partial").iterdir():  # of programs that were killed
            with suppress(FileNotFoundError):
                if time.time() - remains.stat().st_mtime > LEFTOVER_SECONDS:
                    shutil.rmtree(remains, ignore_errors=True)

    def checkpoint(self, digest_: str, files: Mapping[str, FileEntry]) -> Path:
        """The directory of the checkpoint `digest_`, fetched if need be.

        Files that were changed on this disk are found by their hash and fetched again. Raises CheckpointInvalid where
        `files` is not the manifest of that digest, BlobMissing or BlobCorrupt where the store fails it.
        """
        if digest(files) != digest_ or any(allowed(path) is None for path in files):
            raise CheckpointInvalid(f"the manifest does not belong to checkpoint {digest_[:12]}…")
        target = self._root / digest_
        with self._alone(digest_) as lock:
            os.utime(lock)
            there = self._whole(digest_, target)
            if not there:
                shutil.rmtree(target, ignore_errors=True)
                self._fill(target, files)
                self._whole(digest_, target)
        if not there:
            self._trim()
        return target

    def _trim(self) -> None:
        """Give disk space back. What was asked for of late may be being read, and stays."""
        found = [(path.stat().st_mtime, path.name) for path in (self._root / "locks").iterdir()]
        sizes = {name: _size(self._root / name) for _, name in found}
        excess = sum(sizes.values()) - self._limit
        for asked, name in sorted(found):
            if excess <= 0 or time.time() - asked < IN_USE_SECONDS:
                return
            with suppress(BlockingIOError), self._alone(name, wait=False):
                shutil.rmtree(self._root / name, ignore_errors=True)
                excess -= sizes[name]

    def _whole(self, digest_: str, target: Path) -> bool:
        try:
            signature = _signature(target)
            with self._lock:
                if self._known.get(digest_) == signature:
                    return True
            if digest(manifest(target)) != digest_:
                return False
        except (CheckpointInvalid, OSError):
            return False
        with self._lock:
            self._known[digest_] = signature
        return True

    def _fill(self, target: Path, files: Mapping[str, FileEntry]) -> None:
        aside = Path(tempfile.mkdtemp(dir=self._root / "partial"))
        try:
            for path, entry in files.items():
                (aside / path).parent.mkdir(mode=0o700, exist_ok=True)
                self._blobs.fetch(entry.sha256, aside / path)
            for folder in {(aside / path).parent for path in files}:
                sync_directory(folder)
            aside.rename(target)
            sync_directory(self._root)
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    @contextmanager
    def _alone(self, digest_: str, *, wait: bool = True) -> Iterator[int]:
        """One thread of one process at a time; the lock of a killed process is free at once."""
        descriptor = os.open(self._root / "locks" / digest_, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield descriptor
        finally:
            os.close(descriptor)


def _size(target: Path) -> int:
    size = 0
    for path in target.rglob("*"):
        with suppress(FileNotFoundError):  # another process gives it back just now
            size += path.lstat().st_size
    return size


def _signature(target: Path) -> Signature:
    found = []
    for path in sorted(target.rglob("*")):
        status = path.lstat()
        found.append((str(path), status.st_ino, status.st_size, status.st_mtime_ns))
    return tuple(found)
