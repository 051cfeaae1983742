"""Reads text from arguments and standard input, and makes output streams escape characters that they cannot encode."""

from __future__ import annotations

import codecs
import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from app.errors import InvalidRequest

BYTE_ORDER_MARK = "\ufeff"
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_PATH_OPTIONS = ("-o", "--output", "-f", "--file", "--data-dir")


def named_file(file: Path | None) -> Path | None:
    """Return the file that an option names: standard input for a hyphen, otherwise the file itself."""
    return Path("/dev/stdin") if file == Path("-") else file


def prepare_output() -> None:
    """Configure the output streams to escape characters that they cannot encode. Discards output to closed streams."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  (open until the process ends)
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def finish_output() -> None:
    """Write the rest of the output. Exits with status 1 if this is impossible, for example because a disk is full.

    Without this function, Python itself would report the error when the process ends.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        give_up_output(error)


def give_up_output(error: OSError) -> NoReturn:
    """Exit because of an error in writing standard output, and discard what has not been written yet.

    The error is printed, unless the reader closed the pipe early, as in `ostinato … | head`.
    """
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if not isinstance(error, BrokenPipeError):
        print(f"ostinato: cannot write the output: {error.strerror}", file=sys.stderr)
    sys.exit(1)


def read_arguments(arguments: Sequence[str]) -> list[str]:
    """Return the arguments as text. Raises InvalidRequest if an argument is neither UTF-8 nor a path.

    Python decodes bytes that are invalid in the locale's encoding as lone surrogates. The bytes may nevertheless be
    valid UTF-8, for example in the C locale. Paths are not checked, because a file name may contain any bytes.
    """
    texts = []
    for before, argument in zip(("", *arguments), arguments, strict=False):
        if not (before in _PATH_OPTIONS or os.path.lexists(argument)):
            try:
                argument = os.fsencode(argument).decode()
            except UnicodeDecodeError:
                message = f"the argument {shown(argument)} is not UTF-8 text; type it in a UTF-8 terminal"
                raise InvalidRequest(message) from None
        texts.append(argument)
    return texts


def shown(text: str) -> str:
    r"""Return the text in quotes. Bytes that are not valid UTF-8 are escaped: 'sch\xf6n'."""
    return "'" + os.fsencode(text).decode("utf-8", "backslashreplace") + "'"


def read_text() -> str:
    """Read standard input as UTF-8 text, removing a byte order mark.

    Content that starts with a UTF-16 byte order mark is read as UTF-16. Raises InvalidRequest if it cannot be decoded.
    """
    try:
        content = _standard_input()
        encoding = "utf-16" if content.startswith(_UTF_16) else "utf-8"
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InvalidRequest(
            f"cannot read standard input: line {line} is not utf-8 text; convert it to UTF-8 first"
        ) from None
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"cannot read standard input: {getattr(error, 'strerror', None) or error}") from None
    return text.removeprefix(BYTE_ORDER_MARK).replace("\r\n", "\n")


def _standard_input() -> bytes:
    if sys.stdin is None:  # the process was started with a closed standard input
        raise InvalidRequest("standard input is closed, and no text is given as an argument")
    if sys.stdin.isatty():
        print("type or paste the text, then press Ctrl+D on an empty line", file=sys.stderr)
    if hasattr(sys.stdin, "buffer"):
        return sys.stdin.buffer.read()
    return sys.stdin.read().encode("utf-8", "surrogatepass")
