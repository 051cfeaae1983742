"""The formats of data files and their file name suffixes, which are listed only here."""

from __future__ import annotations

SUFFIXES = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".xlsx": "xlsx",
    ".xlsm": "xlsx",
    ".txt": "text",
    ".text": "text",
    ".md": "text",
}
FORMATS = tuple(dict.fromkeys(SUFFIXES.values()))
TABLES = tuple(name for name in FORMATS if name != "text")  # the formats with columns
TABLE_SUFFIXES = tuple(suffix for suffix, name in SUFFIXES.items() if name in TABLES)


def format_of(filename: str) -> str | None:
    """Return the format for a file name's suffix, ignoring ".gz", or None if the suffix is unknown."""
    name = filename.lower().removesuffix(".gz")
    return next((format_ for suffix, format_ in SUFFIXES.items() if name.endswith(suffix)), None)
