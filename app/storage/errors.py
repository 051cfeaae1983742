"""The blob store's errors, and the conversion of other libraries' errors to them."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from obstore.exceptions import BaseError
from obstore.exceptions import NotFoundError as AbsentError

from app.errors import NotFound, OstinatoError, Unavailable


class BlobMissing(NotFound):
    """The store does not have the blob."""

    code = "blob_missing"


class BlobCorrupt(OstinatoError):
    """The hash of the stored bytes differs from the key under which they are stored."""

    code = "blob_corrupt"


class StorageUnavailable(Unavailable):
    """The store cannot be reached, or its disk is full."""

    code = "storage_unavailable"


@contextmanager
def translate_errors(sha256: str) -> Iterator[None]:
    """Convert errors from the store and the disk to BlobMissing or StorageUnavailable."""
    try:
        yield
    except (AbsentError, FileNotFoundError):
        raise BlobMissing(f"stored bytes are missing: blob {sha256[:12]}…; see `ostinato fsck`") from None
    except BaseError as error:
        raise unreachable() from error
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        raise (StorageUnavailable("the disk is full", retry_after=60.0) if full else unreachable()) from error


def unreachable() -> StorageUnavailable:
    """Return the error for a store that does not respond."""
    return StorageUnavailable("the blob store is not responding; try again in a moment", retry_after=1.0)
