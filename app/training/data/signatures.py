"""Recognises files that are not training data, so that error messages can name their format."""

from __future__ import annotations

import zipfile
from pathlib import Path

from app.wire.file_kinds import SPREADSHEET, UNPACK, ZIP, kind_of

_ZIP_KINDS = (  # (a file in the archive, kind of archive, advice)
    ("xl/workbook.bin", "an Excel workbook (.xlsb)", SPREADSHEET),
    ("word/document.xml", "a Word document (.docx)", "save it as plain text in UTF-8, or its table as CSV"),
    ("content.xml", "an OpenDocument file, such as .ods", SPREADSHEET),
    ("data.pkl", "a PyTorch file", "use `ostinato import` for weights; training requires text or a table"),
)


def recognise(start: bytes, path: Path | None) -> str | None:
    """Return what the file is and what to do, as '<kind>; <advice>', or None if it may be training data.

    `start` contains the first bytes of the file. If there is a `path`, the content of a zip archive is also examined.
    """
    return "; ".join(_zip_kind(path)) if start.startswith(ZIP) else kind_of(start)


def _zip_kind(path: Path | None) -> tuple[str, str]:
    try:
        names = [] if path is None else zipfile.ZipFile(path).namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return "a damaged zip archive", "upload it again"
    for member, kind, advice in _ZIP_KINDS:
        if any(name == member or name.endswith("/" + member) for name in names):
            return kind, advice
    files = [name for name in names if not name.endswith("/") and not name.startswith("__MACOSX/")]
    if files and all(name.endswith(".npy") for name in files):
        return "a file of NumPy arrays (.npz)", "save its rows as CSV, JSONL or parquet"
    listed = f" with {', '.join(map(ascii, files[:5]))}{' and others' if len(files) > 5 else ''}" if files else ""
    return f"a zip archive{listed}", UNPACK
