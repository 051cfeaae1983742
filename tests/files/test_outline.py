"""Counting a table as it passes gives what Python's own readers read, however it is cut or compressed."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.files import outline
from app.files.outline import Outline

CELL = st.text(st.sampled_from("ab \",;\t\n'é"), max_size=6)
TABLE = st.integers(1, 4).flatmap(lambda width: st.lists(st.lists(CELL, min_size=width, max_size=width), max_size=8))


def outline_of(content: bytes, format: str | None, size: int = 7) -> tuple[int | None, list[str] | None]:
    table = Outline(format)
    pieces = [content[i : i + size] for i in range(0, len(content), size)]
    assert b"".join(table.pass_through(pieces)) == content
    return table.rows, table.columns


@given(rows=TABLE, names=st.lists(st.text("xyz \"\n", min_size=1, max_size=3), min_size=4, max_size=4),
       kind=st.sampled_from(["csv", "tsv"]), quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
       end=st.sampled_from(["\n", "\r\n"]), size=st.integers(1, 50), packed=st.booleans(), bom=st.booleans(),
       last=st.booleans())  # fmt: skip
def test_tables_are_counted_as_by_pythons_reader(
    rows: list[list[str]], names: list[str], kind: str, quoting: int, end: str, size: int, packed: bool, bom: bool,
    last: bool,
) -> None:  # fmt: skip
    width = len(rows[0]) if rows else 2
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t" if kind == "tsv" else ",", quoting=quoting, lineterminator=end)  # type: ignore[arg-type]
    writer.writerows([["name", *names][:width], *rows])
    content = text.getvalue() if last else text.getvalue().removesuffix(end)
    lines = io.StringIO(content, newline="")
    read = [row for row in csv.reader(lines, delimiter="\t" if kind == "tsv" else ",") if row]
    raw = (b"\xef\xbb\xbf" if bom else b"") + content.encode()
    if packed:
        raw, kind = gzip.compress(raw), f"{kind}.gz"
    delimiter_is_plain = kind.startswith("tsv") or max(",;\t", key=content.split("\n")[0].count) == ","
    if delimiter_is_plain:
        assert outline_of(raw, kind, size) == (len(read) - 1, [name.strip() for name in read[0]])


@given(records=st.lists(st.dictionaries(st.text("ab", min_size=1), st.text()), min_size=1), size=st.integers(1, 50))
def test_json_lines_are_counted(records: list[dict[str, str]], size: int) -> None:
    content = "\n \n".join(json.dumps(record) for record in records).encode()
    assert outline_of(content, "jsonl", size) == (len(records), list(records[0]))


@pytest.mark.parametrize(
    ("content", "format"),
    [
        (b"a,b\n1,2\n", None),
        (b"a,b\n1,2\n", "text"),
        (b"PAR1", "parquet"),
        (b"", "csv"),
        (b"\n\n", "csv"),
        (b'a,b\n"1,2\n', "csv"),
        (b'"a,b\n', "csv"),
        (b"\xff\xfe,b\n1,2\n", "csv"),
        (b"[1]\n", "jsonl"),
        (b"{\n", "jsonl"),
        (b"[" * 100_000, "jsonl"),
        (b"a,b\n1,2\n", "csv.gz"),
        (gzip.compress(b"a,b\n1,2\n" * 99, mtime=0)[:-9], "csv.gz"),
        (gzip.compress(b"a,b\n1,2\n", mtime=0) * 2, "csv.gz"),
    ],
)
def test_unreadable_files_are_not_counted(content: bytes, format: str | None) -> None:
    assert outline_of(content, format) == (None, None)


@pytest.mark.parametrize("name", ["\\ud800", "\\u0000"])
def test_invalid_or_too_many_column_names_are_dropped(name: str) -> None:
    assert outline_of(f'{{"{name}": 1}}\n'.encode(), "jsonl") == (1, None)
    wide = ",".join(f"c{i}" for i in range(2000))
    assert outline_of(f"{wide}\n{wide}\n".encode(), "csv", 1000) == (1, None)


def test_counting_stops_early_in_large_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outline, "MAX_BYTES", 10_000)
    assert outline_of(b"a\n" + b"1\n" * 10_000, "csv", 100) == (None, None)
    lines: list[bytes] = []
    monkeypatch.setattr(outline.CsvTable, "take", lambda _, line: lines.append(line) or True)
    bomb = zlib.compressobj(9, wbits=31)
    packed = b"".join([bomb.compress(b"a,b\n" * 2**18) for _ in range(50)]) + bomb.flush()  # of 50 MB
    assert outline_of(packed, "csv.gz", 2**20) == (None, None)
    assert lines == []
