"""Errors of a disk are recognised in the exceptions of every library."""

from __future__ import annotations

import errno

import pytest
from safetensors import SafetensorError

from app import disk_errors
from app.errors import Unavailable

SERIALIZING = "Error while serializing: I/O error: No space left on device (os error 28)"


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), errno.ENOSPC),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), errno.EDQUOT),
        (SafetensorError(SERIALIZING), errno.ENOSPC),
        (SafetensorError("Error while serializing: I/O error: Input/output error (os error 5)"), errno.EIO),
        (Exception("No space left on device (os error 28)"), errno.ENOSPC),  # of tokenizers
        (caused(Unavailable("the disk is full"), OSError(errno.ENOSPC, "full")), errno.ENOSPC),
        (caused(Unavailable("the store does not answer"), SafetensorError(SERIALIZING)), errno.ENOSPC),
    ],
)
def test_a_job_waits_for_the_disk(error: Exception, number: int) -> None:
    cause = disk_errors.awaited(error)
    assert cause is not None and cause.errno == number


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EACCES, "Permission denied"),
        OSError("disk"),
        SafetensorError("Error while deserializing header: incomplete metadata"),
        SafetensorError("I/O error: No such file or directory (os error 2)"),
        ValueError("line 3: 'No space left on device (os error 28)' is not a number"),
        caused(Unavailable("no answer"), ValueError("x")),
    ],
)
def test_no_job_waits_for_anything_else(error: Exception) -> None:
    assert disk_errors.awaited(error) is None
