"""A cache of checkpoint directories on this machine, for programs that need file paths.

At any moment, a checkpoint's directory is either complete or absent. The files of a checkpoint are checked against
their hashes.
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

LEFTOVER_SECONDS = 86_400.0  # a partial download older than this was left by a killed program
IN_USE_SECONDS = 600.0  # a program may still be reading a directory that was requested within this time
Signature = tuple[tuple[str, int, int, int], ...]  # for each file: path, inode, size, modification time in ns


class LocalCache:
    """Checkpoint directories under `root`, with a total size of at most `limit` bytes. Processes can share `root`.

    When the limit is exceeded, the least recently requested checkpoints are removed. Every checkpoint has a lock file
    in `locks/`. The lock file's modification time is the time of the last request. The lock file contains the
    checkpoint's size in bytes.
    """

    def __init__(self, root: Path, blobs: BlobStore, limit: int = 2**63) -> None:
        self._root, self._blobs, self._limit = root, blobs, limit
        self._signatures: dict[str, Signature] = {}  # digest -> signature of a directory that this process has hashed
        self._lock = Lock()
        for folder in (root, root / "locks", root / "partial"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for leftover in (root / "partial").iterdir():
            with suppress(FileNotFoundError):  # another process has removed it
                if time.time() - leftover.stat().st_mtime > LEFTOVER_SECONDS:
                    shutil.rmtree(leftover, ignore_errors=True)

    def checkpoint(self, digest_: str, files: Mapping[str, FileEntry]) -> Path:
        """Return the directory of checkpoint `digest_`, and fetch the checkpoint from the blob store if necessary.

        If a cached file has changed, the checkpoint is fetched again. Raises CheckpointInvalid if `files` is not the
        manifest with that digest, and BlobMissing or BlobCorrupt if a file is missing from the store or damaged.
        """
        if digest(files) != digest_ or any(allowed(path) is None for path in files):
            raise CheckpointInvalid(f"the manifest does not belong to checkpoint {digest_[:12]}…")
        target = self._root / digest_
        with self._locked(digest_) as lock:
            cached = self._is_complete(digest_, target)
            if not cached:
                self._forget(digest_)
                self._fill(target, files)
                self._is_complete(digest_, target)
            _write_size(lock, sum(entry.size for entry in files.values()))
        if not cached:
            self._trim()
        return target

    def _trim(self) -> None:
        """Remove the least recently requested checkpoints until the total size is within the limit.

        The time is linear in the number of checkpoints, not of their files, because one lock file per checkpoint is
        read.
        """
        requests = sorted((path.stat().st_mtime, path) for path in (self._root / "locks").iterdir())
        sizes = {path.name: self._size(path) for _, path in requests}
        with self._lock:  # another process may have removed some checkpoints
            self._signatures = {name: signature for name, signature in self._signatures.items() if name in sizes}
        excess = sum(sizes.values()) - self._limit
        for requested, path in requests:
            if excess <= 0 or time.time() - requested < IN_USE_SECONDS:
                return
            with suppress(BlockingIOError), self._locked(path.name, wait=False):
                self._forget(path.name)
                excess -= sizes[path.name]

    def _forget(self, digest_: str) -> None:
        """Remove a checkpoint's directory and signature. The caller must hold the checkpoint's lock."""
        shutil.rmtree(self._root / digest_, ignore_errors=True)
        with self._lock:
            self._signatures.pop(digest_, None)

    def _size(self, lock: Path) -> int:
        """Read a checkpoint's size from its lock file.

        If the file is from an earlier release and contains no size, measure the directory.
        """
        with suppress(FileNotFoundError):  # another process has removed the checkpoint
            text = lock.read_bytes()
            return int(text) if text.isdigit() else _measure(self._root / lock.name)
        return 0

    def _is_complete(self, digest_: str, target: Path) -> bool:
        """Whether `target` has exactly the checkpoint's files. Hashes the files only if their signature has changed."""
        try:
            signature = _signature(target)
            with self._lock:
                if self._signatures.get(digest_) == signature:
                    return True
            if digest(manifest(target)) != digest_:
                return False
        except (CheckpointInvalid, OSError):
            return False
        with self._lock:
            self._signatures[digest_] = signature
        return True

    def _fill(self, target: Path, files: Mapping[str, FileEntry]) -> None:
        """Fetch the files into a temporary folder, then rename it to `target`.

        `target` is therefore never incomplete.
        """
        partial = Path(tempfile.mkdtemp(dir=self._root / "partial"))
        try:
            for path, entry in files.items():
                (partial / path).parent.mkdir(mode=0o700, exist_ok=True)
                self._blobs.fetch(entry.sha256, partial / path)
            for folder in {(partial / path).parent for path in files}:
                sync_directory(folder)
            partial.rename(target)
            sync_directory(self._root)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    @contextmanager
    def _locked(self, digest_: str, *, wait: bool = True) -> Iterator[int]:
        """Hold a checkpoint's lock, which excludes other threads and processes. Yields the lock file's descriptor.

        The kernel releases the lock of a killed process. At the end of the block, the lock file is removed if the
        checkpoint does not exist, so that lock files do not accumulate. Raises BlockingIOError if the lock is taken and
        `wait` is False.
        """
        path = self._root / "locks" / digest_
        descriptor = _lock_file(path, wait)
        try:
            yield descriptor
        finally:
            if not (self._root / digest_).is_dir():
                path.unlink(missing_ok=True)
            os.close(descriptor)


def _lock_file(path: Path, wait: bool) -> int:
    """Open and lock a lock file, and return its descriptor. Tries again if the previous holder has removed the file."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            with suppress(FileNotFoundError):
                # A lock on a removed file is useless, because another process would create and lock a new file with the
                # same name.
                if os.path.samestat(os.fstat(descriptor), path.stat()):
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _write_size(lock: int, size: int) -> None:
    """Write a checkpoint's size to its lock file.

    This also sets the file's modification time, which records the time of the request.
    """
    os.pwrite(lock, b"%020d" % size, 0)
    os.utime(lock)


def _measure(target: Path) -> int:
    size = 0
    for path in target.rglob("*"):
        with suppress(FileNotFoundError):  # another process has removed it
            size += path.lstat().st_size
    return size


def _signature(target: Path) -> Signature:
    statuses = [(str(path), path.lstat()) for path in sorted(target.rglob("*"))]
    return tuple((path, status.st_ino, status.st_size, status.st_mtime_ns) for path, status in statuses)
