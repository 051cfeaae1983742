"""Errors of a disk that is full or does not work, whichever library reports them."""

from __future__ import annotations

import errno
import re

FULL = (errno.ENOSPC, errno.EDQUOT)
AWAITED = (*FULL, errno.EIO)  # of the machine, not of one file: a job waits until they are over
EXIT_CODE = 74  # EX_IOERR: a program that cannot even write why it ends
_RUST = re.compile(r"\(os error (\d+)\)")
_LIBRARIES = ("safetensors", "obstore")


def os_error(error: BaseException) -> OSError | None:
    """The operating system's error behind an error: the error itself, one that it was raised from, or one that a
    library written in Rust (safetensors, tokenizers, obstore) names in its message."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno is not None:
            return seen
        # Not in the messages of other errors: they may quote data.
        if _is_rust(seen) and (match := _RUST.search(str(seen))):
            return OSError(int(match[1]), str(seen))
        seen = seen.__cause__
    return None


def awaited(error: BaseException) -> OSError | None:
    """The error of the disk behind an error, if it is one that a job waits for."""
    cause = os_error(error)
    return cause if cause is not None and cause.errno in AWAITED else None


def _is_rust(error: BaseException) -> bool:
    """Whether a library written in Rust has raised the error; tokenizers raises a plain Exception."""
    return type(error) is Exception or type(error).__module__.partition(".")[0] in _LIBRARIES
