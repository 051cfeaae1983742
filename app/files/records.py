"""What the files service speaks of. Knows no SQL and no bytes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

FORMATS = {
    "csv": "csv",
    "tsv": "tsv",
    "tab": "tsv",
    "jsonl": "jsonl",
    "ndjson": "jsonl",
    "parquet": "parquet",
    "txt": "text",
    "text": "text",
}
SEPARATORS = re.compile(r"[\\/]")
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
NAME_BYTES = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """An uploaded file. `format`: csv, tsv, jsonl, parquet or text, with `.gz` where packed; None: unknown.

    `rows` and `columns` are those of a table, None: not known. `roles` says which column holds what ("text", "label"
    and so on -> its name), where the uploader has said so.
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
    """A file's last name alone, printable and of bounded length: a label, never a path."""
    last = SEPARATORS.split(filename)[-1]
    name = UNPRINTABLE.sub("", last).strip()
    while len(name.encode()) > NAME_BYTES:  # keep the end: it tells the format
        name = name[1:]
    return "file" if name in ("", ".", "..") else name


def format_of(filename: str) -> str | None:
    """The format that a name promises."""
    name = filename.lower()
    packed = name.endswith(".gz")
    found = FORMATS.get(name.removesuffix(".gz").rpartition(".")[2])
    return f"{found}.gz" if found and packed else found
