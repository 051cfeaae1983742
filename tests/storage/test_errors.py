"""The blob store's errors for the errors of libraries and of the operating system."""

from __future__ import annotations

import errno

import pytest
from obstore.exceptions import GenericError
from obstore.exceptions import NotFoundError as AbsentError

from app.storage.errors import BlobMissing, StorageUnavailable, translate_errors


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (AbsentError("no"), BlobMissing, "blob 0123"),
        (FileNotFoundError(errno.ENOENT, "no"), BlobMissing, "blob 0123"),
        (GenericError("no"), StorageUnavailable, "is not responding"),
        (OSError(errno.EIO, "no"), StorageUnavailable, "is not responding"),
        (OSError(errno.ENOSPC, "no"), StorageUnavailable, "the disk is full"),
        (OSError(errno.EDQUOT, "no"), StorageUnavailable, "the disk is full"),
    ],
)
def test_errors_are_translated(error: Exception, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message), translate_errors("0123" * 16):
        raise error
