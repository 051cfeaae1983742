"""Recognises files that no program can train on by their first bytes.

Uploads and the trainer use the same table, so both refuse such a file with the same words.
"""

from __future__ import annotations

import zlib

ENOUGH = 512  # bytes from the start of a file that `kind_of` and `kind_of_upload` need
GZIP = b"\x1f\x8b"
ZIP = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
TEXT = "upload a text or a table"
SPREADSHEET = "save the sheet as CSV UTF-8 (File > Save As), and upload the CSV file"
_HTML = "open it in a spreadsheet and save it as CSV UTF-8, or download the actual data file"
UNPACK = "unpack it, and upload the data file that it contains"
_SIGNATURES = (  # (first bytes, kind of file, advice)
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a document in an old Office format, such as .xls", SPREADSHEET),
    (b"\x1f\x8b", "compressed with gzip twice", "decompress it once"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", "decompress it, or use gzip instead"),
    (b"\xfd7zXZ\x00", "compressed with xz", "decompress it, or use gzip instead"),
    (b"\x04\x22\x4d\x18", "compressed with lz4", "decompress it, or use gzip instead"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
    (b"Rar!\x1a\x07", "a RAR archive", UNPACK),
    (b"%PDF-", "a PDF document", "upload its text, or a table"),
    (b"{\\rtf", "an RTF document", "save it as plain text in UTF-8"),
    (b"\x93NUMPY", "a NumPy array", "save its rows as CSV, JSONL or parquet"),
    (b"ARROW1\x00", "an Arrow (Feather) file", "save it as parquet"),
    (b"SQLite format 3\x00", "an SQLite database", "export the table as CSV"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", "save its rows as CSV, JSONL or parquet"),
    (b"Obj\x01", "an Avro file", "save its rows as CSV, JSONL or parquet"),
    (b"\x89PNG", "a picture", TEXT),
    (b"\xff\xd8\xff", "a picture", TEXT),
    (b"GIF87a", "a picture", TEXT),
    (b"GIF89a", "a picture", TEXT),
    (b"II*\x00", "a picture", TEXT),
    (b"MM\x00*", "a picture", TEXT),
    (b"\x00\x00\x01\x00", "a picture", TEXT),
    (b"ID3\x02", "a sound file", TEXT),
    (b"ID3\x03", "a sound file", TEXT),
    (b"ID3\x04", "a sound file", TEXT),
    (b"\xff\xfb", "a sound file", TEXT),
    (b"fLaC\x00", "a sound file", TEXT),
    (b"OggS\x00", "a sound or video file", TEXT),
    (b"\x1aE\xdf\xa3", "a video file", TEXT),
    (b"\x7fELF", "a program", TEXT),
    (b"\xcf\xfa\xed\xfe", "a program", TEXT),
    (b"\xca\xfe\xba\xbe", "a program", TEXT),
    (b"\x00asm", "a program", TEXT),
    (b"GGUF\x03\x00", "a GGUF model", "use `ostinato import` for weights; training requires text or a table"),
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
_MARKED = (  # (position, bytes at this position, first bytes of the file, kind of file, advice)
    (257, b"ustar", b"", "a tar archive", UNPACK),
    (4, b"1AY", b"BZh", "compressed with bzip2", "decompress it, or use gzip instead"),
    (8, b"WAVE", b"RIFF", "a sound file", TEXT),
    (8, b"WEBP", b"RIFF", "a picture", TEXT),
    (8, b"AVI ", b"RIFF", "a video file", TEXT),
    (4, b"ftyp", b"\x00", "a sound or video file, or a picture", TEXT),
    (6, b"\x00\x00\x00\x00", b"BM", "a picture", TEXT),
    (3, b"\x00\x00\x00", b"MZ", "a program", TEXT),
    (5, b"\x00\x00\x00{", b"", "a safetensors file", "use `ostinato import` for weights"),
)


def kind_of(start: bytes) -> str | None:
    """Return what the file is and what to do, as '<kind>; <advice>', or None if it may be training data.

    `start` contains the first bytes of the file, after decompression.
    """
    head = start.lstrip(b"\xef\xbb\xbf \t\r\n")[:20].lower()
    for position, mark, first, kind, advice in _MARKED:
        if start.startswith(mark, position) and start.startswith(first):
            return f"{kind}; {advice}"
    for signature, kind, advice in _SIGNATURES:
        if start.startswith(signature) or (signature.startswith(b"<") and head.startswith(signature)):
            return f"{kind}; {advice}"
    if start.startswith(b"ORC") and any(byte < 9 for byte in start):  # not a table with a column such as ORCID
        return "an ORC file; save it as parquet"
    if start.startswith(_PICKLES):
        return "a pickle, which is never read; save its rows as CSV, JSONL or parquet"
    return None


def kind_of_upload(start: bytes) -> str | None:
    """Like `kind_of`, for the first bytes of a file that may be gzipped. Zip archives are not examined."""
    return kind_of(_unpacked(start) if start.startswith(GZIP) else start)


def _unpacked(start: bytes) -> bytes:
    try:
        return zlib.decompressobj(31).decompress(start, ENOUGH)
    except zlib.error:
        return b""
