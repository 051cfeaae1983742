"""The lines of a file are numbered and decoded, and the byte order mark is removed."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

import pytest

from app.training.data import encoding, files
from app.training.data.detection import detect
from app.training.data.files import characters, lines
from app.training.data.recognition import as_table
from app.training.failures import BadData
from tests.training.data.tables import assert_fault, read, remarks_of, write


def test_lines_are_numbered_from_1_without_the_byte_order_mark(tmp_path: Path) -> None:
    source = detect(write(tmp_path, "a.txt", b"\xef\xbb\xbfone\r\ntwo"), "a.txt")
    assert list(lines(source)) == [(1, "one\r\n"), (2, "two")]


def test_cr_line_ends_of_a_text_become_newlines(tmp_path: Path) -> None:
    source = detect(write(tmp_path, "a.txt", b"one\rtwo\r\x1a"), "a.txt")
    assert "".join(characters(source)) == "one\ntwo\n"
    assert set(remarks_of(source)) == {"line_ends", "end_mark"}
    mixed = detect(write(tmp_path, "b.txt", b"one\rtwo\r\nthree\n"), "b.txt")
    assert "".join(characters(mixed)) == "one\rtwo\r\nthree\n" and remarks_of(mixed) == {}


@pytest.mark.parametrize(
    ("name", "content", "parts"),
    [
        ("a.csv", "", ["a.csv is empty"]),
        ("a.csv", b"text,label\n\xc3\xa9,y\n\xffab,y\n", ["line 3", "column 'text'", "0xff", "UTF-8"]),
        ("a.csv", b"\xef\xbb\xbft\xc3\xa9xt\xff,label\n", ["line 1", "0xff", "UTF-8"]),
        (
            "a.csv.gz",
            gzip.compress(random.Random(0).randbytes(99), mtime=0)[:50] + b"x" * 999,
            ["cannot be decompressed"],
        ),
        ("a.parquet", "words without columns\n", ["is declared or named as parquet, but is not a parquet file"]),
        ("a.csv.gz", gzip.compress(b"text,label\nx,y\n" * 99, mtime=0)[:-20], ["cannot be decompressed"]),
    ],
)
def test_faults_are_reported_with_their_place(
    name: str, content: str | bytes, parts: list[str], tmp_path: Path
) -> None:
    assert_fault(write(tmp_path, name, content), *parts)


def test_invalid_utf8_is_located_in_any_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"\xef\xbb\xbf" + b"one\n" * 40_000 + b"tw\xc3\xa9\xff"
    for block in (5, 4096, encoding._BLOCK):
        monkeypatch.setattr(encoding, "_BLOCK", block)
        with pytest.raises(BadData) as caught:
            as_table(detect(write(tmp_path, "a.txt", content), "a.txt"), None)
        place = "a.txt, line 40001, column 4: the byte 0xff at offset 160007 is not valid UTF-8"
        assert caught.value.message.startswith(place)


@pytest.mark.parametrize(
    ("name", "content", "place"),
    [
        ("a.jsonl", '{"text": "x", "label": "y"}\n{"text": "' + "x" * 3000, "line 2"),
        ("a.csv", "text,label\nx,y\n" + "x" * 3000, "line 3"),
        ("a.csv", 'text,label\nx,y\na,"open' + ",y\n" * 1000, "line 3, column 'label'"),
    ],
)
def test_a_record_has_a_maximum_size(
    name: str, content: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "RECORD_BYTES", 2000)
    with pytest.raises(BadData, match=f"{name}, {place}: the record is longer than the limit of 0 MiB"):
        read(write(tmp_path, name, content))
