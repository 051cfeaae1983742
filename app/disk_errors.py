"""Recognizes errors caused by a full or failing disk, regardless of the library that reports them."""

from __future__ import annotations

import errno
import re

FULL = (errno.ENOSPC, errno.EDQUOT)
AWAITED = (*FULL, errno.EIO)  # problems of the machine, not of one file: a job waits until they are resolved
EXIT_CODE = 74  # EX_IOERR: a full or failing disk ended the program, perhaps before it could report the error
_RUST = re.compile(r"\(os error (\d+)\)")
_LIBRARIES = ("safetensors", "obstore")


def os_error(error: BaseException) -> OSError | None:
    """Return the operating system's error that caused `error`, or None.

    The result is `error` itself, an exception that caused it, or a new OSError with the error number from a message.
    Libraries written in Rust (safetensors, tokenizers, obstore) do not always raise an OSError, but their messages
    contain the operating system's error number.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno is not None:
            return seen
        # Messages of other errors are not searched, because they may quote user data.
        if _is_rust(seen) and (match := _RUST.search(str(seen))):
            return OSError(int(match[1]), str(seen))
        seen = seen.__cause__
    return None


def awaited(error: BaseException) -> OSError | None:
    """Return the disk error that caused `error` if jobs wait until such an error is resolved, otherwise None."""
    cause = os_error(error)
    return cause if cause is not None and cause.errno in AWAITED else None


def _is_rust(error: BaseException) -> bool:
    """Whether the error may come from a library written in Rust. tokenizers raises a plain `Exception`."""
    return type(error) is Exception or type(error).__module__.partition(".")[0] in _LIBRARIES
