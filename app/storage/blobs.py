"""The blob store: immutable bytes, stored under their SHA-256 in a local folder or in a bucket."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.exceptions import NotFoundError as AbsentError
from obstore.store import LocalStore, MemoryStore, ObjectStore, from_url

from app.checkpoint.directory import sync_directory
from app.errors import NotFound, OstinatoError, TooLarge, Unavailable
from app.settings import PREFIX, SettingError

CHUNK = 2**20
ONE_PUT = 16 * 2**20  # larger objects are uploaded in several parts, and such uploads cannot be conditional
RENEWAL_SECONDS = 3600.0  # putting a blob that is older than this uploads it again, to renew its time
CLIENT: Any = {
    "timeout": "600s",  # the timeout of one request, which may transfer a large object
    "allow_http": True,  # the operator may choose an http:// endpoint
}
DIGEST = re.compile(r"[0-9a-f]{64}")


class BlobMissing(NotFound):
    """The store does not have the blob."""

    code = "blob_missing"


class BlobCorrupt(OstinatoError):
    """The hash of the stored bytes differs from the key under which they are stored."""

    code = "blob_corrupt"


class StorageUnavailable(Unavailable):
    """The store cannot be reached, or its disk is full."""

    code = "storage_unavailable"


@dataclass(frozen=True, slots=True)
class Blob:
    """A stored blob. `modified` is in seconds since the epoch, according to the store's clock.

    Putting the same bytes again renews `modified`: in a folder always, in a bucket only after `RENEWAL_SECONDS`.
    """

    sha256: str
    size: int
    modified: float


class BlobStore:
    """Stores and reads blobs. One object per process; its methods are thread-safe.

    All methods raise StorageUnavailable if the store cannot be reached.
    """

    def __init__(self, url: str) -> None:
        """Open the store at `url`: file://, memory://, or the URL of a bucket. Raises SettingError."""
        self._root, self._store = _open_store(url)
        self._spool = None if self._root is None else self._root / "incoming"

    def put_bytes(self, data: bytes) -> str:
        """Store bytes; return their SHA-256."""
        return self.put_stream(iter([data]), len(data))[0]

    def put_file(self, path: Path) -> str:
        """Store the content of a file; return its SHA-256."""
        return self.put_stream(_read_chunks(path), None)[0]

    def put_stream(self, stream: Iterable[bytes], limit: int | None) -> tuple[str, int]:
        """Store the bytes of a stream; return their SHA-256 and the number of bytes.

        If there are more than `limit` bytes, raises TooLarge and stores nothing.
        """
        hasher, size = hashlib.sha256(), 0
        with _temporary_file(self._spool) as file:
            for chunk in stream:
                size += len(chunk)
                if limit is not None and size > limit:
                    raise TooLarge(f"the upload is larger than the limit of {limit} bytes")
                hasher.update(chunk)
                with _translate_errors(""):
                    file.write(chunk)
            sha256 = hasher.hexdigest()
            with _translate_errors(sha256):
                file.flush()
                self._store_file(Path(file.name), file.fileno(), sha256)
        return sha256, size

    def open(self, sha256: str) -> Iterator[bytes]:
        """Read a blob in pieces. Raises BlobMissing at once, or BlobCorrupt at the end if the hash is wrong."""
        with _translate_errors(sha256):
            response = obstore.get(self._store, _key(sha256))
        return _verify(response.stream(min_chunk_size=CHUNK), sha256)

    def fetch(self, sha256: str, path: Path) -> None:
        """Copy a blob to `path`. The file appears only when it is complete and verified.

        Raises BlobMissing or BlobCorrupt.
        """
        with _temporary_file(path.parent) as file:
            for chunk in self.open(sha256):
                with _translate_errors(sha256):
                    file.write(chunk)
            with _translate_errors(sha256):
                file.flush()
                os.fsync(file.fileno())
                Path(file.name).replace(path)

    def stat(self, sha256: str) -> Blob | None:
        """Return the size and time of a blob, without reading its bytes, or None if it does not exist."""
        try:
            meta = obstore.head(self._store, _key(sha256))
        except (AbsentError, FileNotFoundError):
            return None
        except BaseError as error:
            raise _unreachable() from error
        return Blob(sha256, meta["size"], meta["last_modified"].timestamp())

    def exists(self, sha256: str) -> bool:
        return self.stat(sha256) is not None

    def delete(self, sha256: str) -> None:
        """Delete a blob if it exists."""
        with suppress(BlobMissing), _translate_errors(sha256):
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
            raise _unreachable() from error

    def sweep(self, older_than: float) -> int:
        """Remove the files of interrupted uploads that are older than `older_than` seconds; return their number.

        Does nothing for a bucket.
        """
        removed = 0
        for path in self._spool.iterdir() if self._spool is not None else ():
            with suppress(FileNotFoundError):
                if datetime.now(UTC).timestamp() - path.stat().st_mtime > older_than:
                    path.unlink()
                    removed += 1
        return removed

    def _store_file(self, path: Path, descriptor: int, sha256: str) -> None:
        """Store a complete temporary file under its hash."""
        if self._root is not None:
            self._rename(path, descriptor, self._root / _key(sha256))
            return
        existing = self.stat(sha256)
        if existing is None or datetime.now(UTC).timestamp() - existing.modified > RENEWAL_SECONDS:
            self._upload(path, sha256, conditional=existing is None)

    def _rename(self, path: Path, descriptor: int, target: Path) -> None:
        """Write the file's bytes to the disk, move the file to its final name, and sync the folders.

        Replaces any older copy of the blob, which has the same bytes or is damaged: a repeated put repairs it.
        """
        os.fsync(descriptor)
        target.parent.mkdir(mode=0o700, exist_ok=True)
        path.replace(target)
        sync_directory(target.parent)
        sync_directory(target.parent.parent)

    def _upload(self, path: Path, sha256: str, *, conditional: bool) -> None:
        if conditional and path.stat().st_size <= ONE_PUT:
            with suppress(AlreadyExistsError):  # another process has already put the same bytes
                obstore.put(self._store, _key(sha256), path.read_bytes(), mode="create")
        else:
            obstore.put(self._store, _key(sha256), path)


def _open_store(url: str) -> tuple[Path | None, ObjectStore]:
    """Open a store. Returns its folder (None for a bucket or memory) and the store. Raises SettingError."""
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


def _read_chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk


def _verify(stream: Iterable[bytes], sha256: str) -> Iterator[bytes]:
    hasher = hashlib.sha256()
    with _translate_errors(sha256):
        for chunk in stream:
            hasher.update(chunk)
            yield bytes(chunk)
    if hasher.hexdigest() != sha256:
        raise BlobCorrupt(f"stored bytes are damaged: blob {sha256[:12]}… does not match its hash; see `ostinato fsck`")


@contextmanager
def _temporary_file(folder: Path | None) -> Iterator[IO[bytes]]:
    """Create a private file (mode 0600), and remove it at the end of the block unless it has been moved."""
    with tempfile.NamedTemporaryFile(dir=folder, prefix="ostinato-", delete=False) as file:
        try:
            yield file
        finally:
            Path(file.name).unlink(missing_ok=True)


@contextmanager
def _translate_errors(sha256: str) -> Iterator[None]:
    """Convert errors of the store and of the disk to BlobMissing or StorageUnavailable."""
    try:
        yield
    except (AbsentError, FileNotFoundError):
        raise BlobMissing(f"stored bytes are missing: blob {sha256[:12]}…; see `ostinato fsck`") from None
    except BaseError as error:
        raise _unreachable() from error
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        raise (StorageUnavailable("the disk is full", retry_after=60.0) if full else _unreachable()) from error


def _unreachable() -> StorageUnavailable:
    return StorageUnavailable("the blob store is not responding; try again in a moment", retry_after=1.0)
