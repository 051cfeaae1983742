"""Errors name the kind of unreadable files, regardless of the file name."""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path

import pytest

from app.training.data.detection import detect
from app.training.failures import BadData
from tests.training.data.tables import write


def archive(*names: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name in names:
            file.writestr(name, "x")
    return out.getvalue()


@pytest.mark.parametrize("name", ["a.csv", "a.xlsx", "a"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (archive("[Content_Types].xml", "xl/workbook.bin"), r"an Excel workbook \(.xlsb\); save the sheet as CSV"),
        (archive("word/document.xml"), r"a Word document"),
        (archive("mimetype", "content.xml"), r"an OpenDocument file"),
        (archive("model/data.pkl", "model/version"), r"a PyTorch file"),
        (archive("data/train.csv", "data/test.csv"), r"a zip archive with 'data/train.csv', 'data/test.csv'; unpack"),
        (archive("a.npy"), r"a file of NumPy arrays"),
        (archive(), r"a zip archive; unpack"),
        (archive("a.csv")[:30], r"a damaged zip archive"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\x00" * 600, r"a document in an old Office format, such as .xls"),
        (b"\x28\xb5\x2f\xfd\x04\x00", r"compressed with zstd; decompress it, or use gzip"),
        (b"BZh91AY", r"compressed with bzip2"),
        (gzip.compress(gzip.compress(b"text,label\n")), r"compressed with gzip twice"),
        (b"a.csv".ljust(257, b"\x00") + b"ustar\x00", r"a tar archive; unpack it"),
        (gzip.compress(b"a.csv".ljust(257, b"\x00") + b"ustar\x00"), r"a tar archive; unpack it"),
        (b"%PDF-1.7\n", r"a PDF document"),
        (b"RIFF\x24\x08\x00\x00WEBPVP8 ", r"a picture; upload a text or a table"),
        (b"OggS\x00\x02", r"a sound or video file; upload a text or a table"),
        (b"MZ\x90\x00\x00\x00", r"a program; upload a text or a table"),
        (b"\n<!DOCTYPE html>\n<html>", r"a web page; download the actual data file"),
        (b"\x80\x04\x95\x10\x00", r"a pickle, which is never read"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", r"a Git LFS pointer"),
    ],
)
def test_a_file_is_named_for_what_it_is(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(BadData, match=f"{name} is {message}"):
        detect(write(tmp_path, name, content), name)
