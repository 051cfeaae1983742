"""The immutable record of an uploaded file, and the rules for names and formats."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from app.wire import file_formats

SEPARATORS = re.compile(r"[\\/]")
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
NAME_BYTES = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """An uploaded file.

    `format` is one of `app.wire.file_formats.FORMATS`, followed by ".gz" if the file is compressed, or None if unknown.
    `rows` is the number of rows of a table, and `columns` contains its column names. Both are None if unknown. `roles`
    maps roles ("text", "label" …) to the columns that the client has assigned to them.
    """

    id: str
    owner: str
    filename: str
    purpose: str
    bytes: int
    sha256: str
    status: str
    status_details: str | None
    format: str | None
    created_at: float
    expires_at: float | None
    rows: int | None = None
    columns: list[str] | None = None
    roles: dict[str, str] = field(default_factory=dict)


def clean_name(filename: str) -> str:
    """Reduce a client's file name to the printable characters of its last path component, in at most 255 bytes."""
    last = SEPARATORS.split(filename)[-1]
    name = UNPRINTABLE.sub("", last).strip()
    while len(name.encode()) > NAME_BYTES:  # cut from the start, to keep the extension
        name = name[1:]
    return "file" if name in ("", ".", "..") else name


def format_of(filename: str) -> str | None:
    """Return the format that a file name implies, with ".gz" if it is compressed, or None if the format is unknown."""
    format_ = file_formats.format_of(filename)
    return f"{format_}.gz" if format_ and filename.lower().endswith(".gz") else format_
