"""Content-addressed bytes: a blob's key is its SHA-256, so it never changes and is written once.

Knows one obstore store: a local folder, or a bucket by its URL. Knows nothing of what the bytes mean.
"""

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
ONE_PUT = 16 * 2**20  # larger objects go up in parts, which cannot be conditional
YOUTH = 3600.0  # a blob found again is made young again when it is older than this, so that nobody collects it
CLIENT: Any = {  # a large object may take long in one request; http:// endpoints are the user's choice
    "timeout": "600s",
    "allow_http": True,
}
DIGEST = re.compile(r"[0-9a-f]{64}")


class BlobMissing(NotFound):
    code = "blob_missing"


class BlobCorrupt(OstinatoError):
    """The store gave other bytes than were put."""

    code = "blob_corrupt"


class StorageUnavailable(Unavailable):
    code = "storage_unavailable"


@dataclass(frozen=True, slots=True)
class Blob:
    """`modified`: seconds since the epoch by the store's clock; it becomes newer each time the bytes are put again."""

    sha256: str
    size: int
    modified: float


class BlobStore:
    """One per process. Its methods are safe to call from any thread."""

    def __init__(self, url: str) -> None:
        self._root, self._store = _open_store(url)
        self._spool = None if self._root is None else self._root / "incoming"

    def put_bytes(self, data: bytes) -> str:
        return self.put_stream(iter([data]), len(data))[0]

    def put_file(self, path: Path) -> str:
        return self.put_stream(_chunks(path), None)[0]

    def put_stream(self, stream: Iterable[bytes], limit: int | None) -> tuple[str, int]:
        """Keep the bytes; return their SHA-256 and count. Raises TooLarge beyond `limit` bytes and then keeps none."""
        hasher, size = hashlib.sha256(), 0
        with _aside(self._spool) as file:
            for chunk in stream:
                size += len(chunk)
                if limit is not None and size > limit:
                    raise TooLarge(f"more than {limit} bytes were sent; {limit} is the most")
                hasher.update(chunk)
                with _told(""):
                    file.write(chunk)
            sha256 = hasher.hexdigest()
            with _told(sha256):
                file.flush()
                self._keep(Path(file.name), file.fileno(), sha256)
        return sha256, size

    def open(self, sha256: str) -> Iterator[bytes]:
        """The bytes in pieces; raises BlobMissing at once, BlobCorrupt at the end if they were not the right ones."""
        with _told(sha256):
            found = obstore.get(self._store, _key(sha256))
        return _verified(found.stream(min_chunk_size=CHUNK), sha256)

    def fetch(self, sha256: str, path: Path) -> None:
        """Copy to `path`, which appears whole and verified or not at all."""
        with _aside(path.parent) as file:
            for chunk in self.open(sha256):
                with _told(sha256):
                    file.write(chunk)
            with _told(sha256):
                file.flush()
                os.fsync(file.fileno())
                Path(file.name).replace(path)

    def stat(self, sha256: str) -> Blob | None:
        try:
            meta = obstore.head(self._store, _key(sha256))
        except (AbsentError, FileNotFoundError):
            return None
        except BaseError as error:
            raise _away() from error
        return Blob(sha256, meta["size"], meta["last_modified"].timestamp())

    def exists(self, sha256: str) -> bool:
        return self.stat(sha256) is not None

    def delete(self, sha256: str) -> None:
        """Forget the bytes; no error where there are none."""
        with suppress(BlobMissing), _told(sha256):
            obstore.delete(self._store, _key(sha256))

    def list(self) -> Iterator[Blob]:
        """Every blob, in no order. Leftovers of broken uploads are no blobs."""
        try:
            for batch in obstore.list(self._store, prefix="sha256"):
                for meta in batch:
                    name = meta["path"].rpartition("/")[2]
                    if DIGEST.fullmatch(name):
                        yield Blob(name, meta["size"], meta["last_modified"].timestamp())
        except BaseError as error:
            raise _away() from error

    def sweep(self, older_than: float) -> int:
        """Remove the remains of uploads that broke off more than `older_than` seconds ago; return their number."""
        removed = 0
        for path in self._spool.iterdir() if self._spool is not None else ():
            with suppress(FileNotFoundError):
                if datetime.now(UTC).timestamp() - path.stat().st_mtime > older_than:
                    path.unlink()
                    removed += 1
        return removed

    def _keep(self, aside: Path, descriptor: int, sha256: str) -> None:
        if self._root is not None:
            self._rename(aside, descriptor, self._root / _key(sha256))
            return
        known = self.stat(sha256)
        if known is None or datetime.now(UTC).timestamp() - known.modified > YOUTH:
            self._upload(aside, sha256, conditional=known is None)

    def _rename(self, aside: Path, descriptor: int, target: Path) -> None:
        """The name appears after the bytes are on the disk. An older copy gives way: it is equal, or damaged."""
        os.fsync(descriptor)
        target.parent.mkdir(mode=0o700, exist_ok=True)
        aside.replace(target)
        sync_directory(target.parent)
        sync_directory(target.parent.parent)

    def _upload(self, aside: Path, sha256: str, *, conditional: bool) -> None:
        if conditional and aside.stat().st_size <= ONE_PUT:
            with suppress(AlreadyExistsError):
                obstore.put(self._store, _key(sha256), aside.read_bytes(), mode="create")
        else:
            obstore.put(self._store, _key(sha256), aside)


def _open_store(url: str) -> tuple[Path | None, ObjectStore]:
    """The store, and its folder where it is a local one."""
    parts = urlsplit(url)
    if parts.scheme == "memory":
        return None, MemoryStore()
    if parts.scheme not in ("", "file"):
        try:
            return None, from_url(url, client_options=CLIENT)
        except (BaseError, ValueError) as error:
            why = str(error).partition("\n")[0][:200]  # what follows is for debugging
            raise SettingError(f"{PREFIX}STORAGE_URL cannot be used: {why}") from None
    root = Path(unquote(parts.path)).expanduser().resolve()
    try:
        for folder in (root, root / "incoming", root / "sha256"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SettingError(f"{PREFIX}STORAGE_URL: cannot make {folder}: {error.strerror}; name another place") from None
    return root, LocalStore(prefix=root)


def _key(sha256: str) -> str:
    if not DIGEST.fullmatch(sha256):
        raise BlobMissing("a blob is named by 64 hexadecimal digits")
    return f"sha256/{sha256[:2]}/{sha256}"


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk


def _verified(stream: Iterable[bytes], sha256: str) -> Iterator[bytes]:
    hasher = hashlib.sha256()
    with _told(sha256):
        for chunk in stream:
            hasher.update(chunk)
            yield bytes(chunk)
    if hasher.hexdigest() != sha256:
        raise BlobCorrupt(f"stored bytes are damaged: blob {sha256[:12]}… has another hash; see `ostinato fsck`")


@contextmanager
def _aside(folder: Path | None) -> Iterator[IO[bytes]]:
    """A private file (0600) that is gone afterwards."""
    with tempfile.NamedTemporaryFile(dir=folder, prefix="ostinato-", delete=False) as file:
        try:
            yield file
        finally:
            Path(file.name).unlink(missing_ok=True)


@contextmanager
def _told(sha256: str) -> Iterator[None]:
    try:
        yield
    except (AbsentError, FileNotFoundError):
        raise BlobMissing(f"stored bytes are gone: blob {sha256[:12]}…; see `ostinato fsck`") from None
    except BaseError as error:
        raise _away() from error
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        raise (StorageUnavailable("the disk is full", retry_after=60.0) if full else _away()) from error


def _away() -> StorageUnavailable:
    return StorageUnavailable("the blob store does not answer; try again in a moment", retry_after=1.0)
