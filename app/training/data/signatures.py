"""Recognises files that are not training data by their first bytes, so that error messages can name their format."""

from __future__ import annotations

import zipfile
from pathlib import Path

_SPREADSHEET = "save the sheet as CSV UTF-8 (File > Save As), and upload the CSV file"
_HTML = "open it in a spreadsheet and save it as CSV UTF-8, or download the actual data file"
_UNPACK = "unpack it, and upload the data file that it contains"
_SIGNATURES = (  # (first bytes, kind of file, advice)
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a document in an old Office format, such as .xls", _SPREADSHEET),
    (b"\x1f\x8b", "compressed with gzip twice", "decompress it once"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", "decompress it, or use gzip instead"),
    (b"BZh", "compressed with bzip2", "decompress it, or use gzip instead"),
    (b"\xfd7zXZ\x00", "compressed with xz", "decompress it, or use gzip instead"),
    (b"\x04\x22\x4d\x18", "compressed with lz4", "decompress it, or use gzip instead"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (b"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    (b"%PDF-", "a PDF document", "upload its text, or a table"),
    (b"{\\rtf", "an RTF document", "save it as plain text in UTF-8"),
    (b"\x93NUMPY", "a NumPy array", "save its rows as CSV, JSONL or parquet"),
    (b"ARROW1", "an Arrow (Feather) file", "save it as parquet"),
    (b"SQLite format 3\x00", "an SQLite database", "export the table as CSV"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", "save its rows as CSV, JSONL or parquet"),
    (b"Obj\x01", "an Avro file", "save its rows as CSV, JSONL or parquet"),
    (b"ORC", "an ORC file", "save it as parquet"),
    (b"\x89PNG", "a picture", "upload a text or a table"),
    (b"\xff\xd8\xff", "a picture", "upload a text or a table"),
    (b"version https://git-lfs", "a Git LFS pointer, not the data itself", "fetch the data with `git lfs pull`"),
    (b"<!doctype html", "a web page", "download the actual data file"),
    (b"<html", "a web page or an HTML table, not a spreadsheet", _HTML),
    (b"<table", "an HTML table, not a spreadsheet", _HTML),
    (b"<head", "an HTML table, not a spreadsheet", _HTML),
    (b"<meta", "an HTML table, not a spreadsheet", _HTML),
    (b"<style", "an HTML table, not a spreadsheet", _HTML),
    (b"<body", "a web page", "download the actual data file"),
    (b"MIME-Version:", "a web page in one file (.mht)", _HTML),
    (b"<?xml", "an XML document", "save its rows as CSV, JSONL or parquet"),
)
_PICKLES = tuple(bytes((0x80, protocol)) for protocol in range(2, 6))
_ZIP = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_ZIP_KINDS = (  # (a file in the archive, kind of archive, advice)
    ("xl/workbook.bin", "an Excel workbook (.xlsb)", _SPREADSHEET),
    ("word/document.xml", "a Word document (.docx)", "save it as plain text in UTF-8, or its table as CSV"),
    ("content.xml", "an OpenDocument file, such as .ods", _SPREADSHEET),
    ("data.pkl", "a PyTorch file", "use `ostinato import` for weights; training requires text or a table"),
)


def recognise(start: bytes, path: Path | None) -> str | None:
    """Return what the file is and what to do, as '<kind>; <advice>', or None if it may be training data.

    `start` contains the first bytes of the file. If there is a `path`, the content of a zip archive is also examined.
    """
    if start.startswith(_ZIP):
        return "; ".join(_zip_kind(path))
    head = start.lstrip(b"\xef\xbb\xbf \t\r\n")[:20].lower()
    if start[257:262] == b"ustar":
        return f"a tar archive; {_UNPACK}"
    for signature, kind, advice in _SIGNATURES:
        if start.startswith(signature) or (signature.startswith(b"<") and head.startswith(signature)):
            return f"{kind}; {advice}"
    if start.startswith(_PICKLES):
        return "a pickle, which is never read; save its rows as CSV, JSONL or parquet"
    return None


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
    return f"a zip archive{listed}", _UNPACK
