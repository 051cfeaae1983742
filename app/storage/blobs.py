"""The blob store: immutable bytes, stored under their SHA-256 in a local folder or in a bucket."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.exceptions import NotFoundError as AbsentError
from obstore.store import LocalStore, MemoryStore, ObjectStore, from_url

from app.checkpoint.directory import sync_directory
from app.errors import TooLarge
from app.settings import PREFIX, SettingError
from app.storage.errors import BlobCorrupt, BlobMissing, translate_errors, unreachable
from app.storage.scratch import NAMES, Scratch

CHUNK = 2**20
ONE_PUT = 16 * 2**20  # larger objects are uploaded in several parts, and such uploads cannot be conditional
RENEWAL_SECONDS = 3600.0  # storing a blob that is older than this uploads it again, to renew its modification time
CLIENT: Any = {
    "timeout": "600s",  # the timeout of one request, which may transfer a large object
    "allow_http": True,  # the operator may choose an http:// endpoint
}
DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Blob:
    """A stored blob. `modified` is in seconds since the epoch, according to the store's clock.

    Storing the same bytes again updates `modified`: always in a folder, but only after `RENEWAL_SECONDS` in a bucket.
    """

    sha256: str
    size: int
    modified: float


class FileChanged(Exception):
    """A file was written between two reads of it."""


class BlobStore:
    """Stores and reads blobs. One object per process; its methods are thread-safe.

    All methods raise StorageUnavailable if the store cannot be reached.
    """

    def __init__(self, url: str, scratch: Path | None = None) -> None:
        """Open the store at `url`: file://, memory://, or the URL of a bucket. Raises SettingError.

        `scratch` is the folder for temporary files if the store is a bucket or in memory. Without it, the system's
        temporary folder is used.
        """
        self._root, self._store = _open_store(url)
        self._scratch = scratch if self._root is None else self._root / "incoming"

    def put_bytes(self, data: bytes) -> str:
        """Store bytes. Returns their SHA-256."""
        return self.put_stream(iter([data]), len(data))[0]

    def put_file(self, path: Path) -> str:
        """Store a file's content. Returns its SHA-256."""
        if self._root is not None:
            return self.put_stream(_read_chunks(path), None)[0]
        sha256 = _hash(path)  # a bucket does not need a local copy, which would use the disk space twice
        try:
            with translate_errors(sha256):
                self._send(path, sha256, shared=True)
        except FileChanged:
            return self.put_stream(_read_chunks(path), None)[0]
        return sha256

    def put_stream(self, stream: Iterable[bytes], limit: int | None, scratch: Scratch | None = None) -> tuple[str, int]:
        """Store a stream's bytes. Returns the SHA-256 and the number of bytes.

        If the stream reads from a `scratch` file, the file itself becomes the blob, without a copy. If there are more
        than `limit` bytes, raises TooLarge and stores nothing.
        """
        if scratch is not None:
            return self._put(stream, limit, scratch)
        with self._temporary() as file:
            return self._put(_copy_to(file, stream), limit, file)

    def scratch(self, otherwise: Path) -> Scratch:
        """Create a file that `put_stream` can store without a copy.

        The file is created in the store's folder for temporary files or, if the store has none, in `otherwise`.
        """
        folder = self._temporary_folder() or otherwise
        otherwise.mkdir(parents=True, exist_ok=True)
        return Scratch(folder)

    def free_bytes(self) -> int:
        """Return the free space on the disk to which new blobs are first written."""
        return shutil.disk_usage(self._temporary_folder() or tempfile.gettempdir()).free

    def open(self, sha256: str) -> Iterator[bytes]:
        """Read a blob in pieces. Raises BlobMissing at the start, or BlobCorrupt at the end if the hash is wrong."""
        with translate_errors(sha256):
            response = obstore.get(self._store, _key(sha256))
        return _verify(response.stream(min_chunk_size=CHUNK), sha256)

    def fetch(self, sha256: str, path: Path) -> None:
        """Copy a blob to `path`. The file appears only when it is complete and verified.

        Raises BlobMissing or BlobCorrupt.
        """
        with Scratch(path.parent) as file:
            for _ in _copy_to(file, self.open(sha256)):
                pass
            with translate_errors(sha256):
                os.fsync(file.fileno())
                file.path.replace(path)

    def stat(self, sha256: str) -> Blob | None:
        """Return a blob's size and modification time without reading its bytes, or None if it does not exist."""
        try:
            meta = obstore.head(self._store, _key(sha256))
        except (AbsentError, FileNotFoundError):
            return None
        except BaseError as error:
            raise unreachable() from error
        return Blob(sha256, meta["size"], meta["last_modified"].timestamp())

    def exists(self, sha256: str) -> bool:
        return self.stat(sha256) is not None

    def delete(self, sha256: str) -> None:
        """Delete a blob if it exists."""
        with suppress(BlobMissing), translate_errors(sha256):
            obstore.delete(self._store, _key(sha256))

    def list(self) -> Iterator[Blob]:
        """Yield all blobs, in any order. Partial uploads are not included."""
        try:
            for batch in obstore.list(self._store, prefix="sha256"):
                for meta in batch:
                    name = meta["path"].rpartition("/")[2]
                    if DIGEST.fullmatch(name):
                        yield Blob(name, meta["size"], meta["last_modified"].timestamp())
        except BaseError as error:
            raise unreachable() from error

    def sweep(self, older_than: float) -> int:
        """Remove the files of interrupted uploads that are older than `older_than` seconds.

        Returns the number of removed files.
        """
        removed = 0
        for path in self._scratch.glob(f"{NAMES}*") if self._scratch is not None else ():
            with suppress(FileNotFoundError):
                if datetime.now(UTC).timestamp() - path.stat().st_mtime > older_than:
                    path.unlink()
                    removed += 1
        return removed

    def _temporary(self) -> Scratch:
        return Scratch(self._temporary_folder())

    def _temporary_folder(self) -> Path | None:
        # If the store is a folder, `incoming` must not be created again: the disk may have been unmounted.
        if self._root is None and self._scratch is not None:
            self._scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self._scratch

    def _put(self, stream: Iterable[bytes], limit: int | None, file: Scratch) -> tuple[str, int]:
        """Hash the stream, which reads from `file` or writes to it, and store `file` under the hash."""
        hasher, size = hashlib.sha256(), 0
        for chunk in stream:
            size += len(chunk)
            if limit is not None and size > limit:
                raise TooLarge(f"the upload is larger than the limit of {limit} bytes")
            hasher.update(chunk)
        sha256 = hasher.hexdigest()
        with translate_errors(sha256):
            self._store_file(file, sha256)
        return sha256, size

    def _store_file(self, file: Scratch, sha256: str) -> None:
        """Store a complete temporary file under its hash."""
        if self._root is not None:
            self._rename(file, self._root / _key(sha256))
        else:
            self._send(file.path, sha256)

    def _send(self, path: Path, sha256: str, *, shared: bool = False) -> None:
        """Upload a file to the bucket, unless the bucket has received the same bytes recently.

        Other programs can write to a `shared` file. Raises FileChanged if the hash of the bytes read is not `sha256`.
        """
        existing = self.stat(sha256)
        if existing is None or datetime.now(UTC).timestamp() - existing.modified > RENEWAL_SECONDS:
            self._upload(path, sha256, conditional=existing is None, shared=shared)

    def _rename(self, file: Scratch, target: Path) -> None:
        """Flush the file to disk, move it to its final name, and sync the folders.

        Replaces any older copy of the blob, so storing a damaged blob again repairs it.
        """
        os.fsync(file.fileno())
        target.parent.mkdir(mode=0o700, exist_ok=True)
        file.path.replace(target)
        sync_directory(target.parent)
        sync_directory(target.parent.parent)

    def _upload(self, path: Path, sha256: str, *, conditional: bool, shared: bool) -> None:
        if conditional and path.stat().st_size <= ONE_PUT:
            data = b"".join(_unchanged(path, sha256)) if shared else path.read_bytes()
            with suppress(AlreadyExistsError):  # another process has already put the same bytes
                obstore.put(self._store, _key(sha256), data, mode="create")
        else:
            obstore.put(self._store, _key(sha256), _unchanged(path, sha256) if shared else path)


def _open_store(url: str) -> tuple[Path | None, ObjectStore]:
    """Open a store. Returns the store's folder (None for a bucket or memory) and the store. Raises SettingError."""
    parts = urlsplit(url)
    if parts.scheme == "memory":
        return None, MemoryStore()
    if parts.scheme not in ("", "file"):
        try:
            return None, from_url(url, client_options=CLIENT)
        except (BaseError, ValueError) as error:
            reason = str(error).partition("\n")[0][:200]  # the remaining lines are debug output
            raise SettingError(f"{PREFIX}STORAGE_URL cannot be used: {reason}") from None
    root = Path(unquote(parts.path)).expanduser().resolve()
    try:
        for folder in (root, root / "incoming", root / "sha256"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SettingError(
            f"{PREFIX}STORAGE_URL: cannot create {folder}: {error.strerror}; choose another folder"
        ) from None
    return root, LocalStore(prefix=root)


def _key(sha256: str) -> str:
    if not DIGEST.fullmatch(sha256):
        raise BlobMissing("the key of a blob is its SHA-256, 64 lowercase hexadecimal digits")
    return f"sha256/{sha256[:2]}/{sha256}"


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk


def _unchanged(path: Path, sha256: str) -> Iterator[bytes]:
    """Read a file in pieces. Raises FileChanged at the end if its hash is not `sha256`, which cancels an upload."""
    hasher = hashlib.sha256()
    for chunk in _read_chunks(path):
        hasher.update(chunk)
        yield chunk
    if hasher.hexdigest() != sha256:
        raise FileChanged


def _copy_to(file: Scratch, stream: Iterable[bytes]) -> Iterator[bytes]:
    for chunk in stream:
        file.write(chunk)
        yield chunk


def _verify(stream: Iterable[bytes], sha256: str) -> Iterator[bytes]:
    hasher = hashlib.sha256()
    with translate_errors(sha256):
        for chunk in stream:
            hasher.update(chunk)
            yield bytes(chunk)
    if hasher.hexdigest() != sha256:
        raise BlobCorrupt(f"stored bytes are damaged: blob {sha256[:12]}… does not match its hash; see `ostinato fsck`")
