"""The rows and columns counted during an upload are those that the trainer reads, or they are not stated."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import tempfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.files import outline
from app.files.outline import Outline
from app.training.data.detection import detect
from app.training.data.files import EVERYTHING
from app.training.data.formats import READERS
from app.training.failures import BadData

CELL = st.text(st.sampled_from("ab \",;\t\n'é"), max_size=6)
TABLE = st.integers(1, 4).flatmap(lambda width: st.lists(st.lists(CELL, min_size=width, max_size=width), max_size=8))

HEADERS = ["a,b", "a;b", "a\tb", "a|b", "a", "a,,b", "a,a", "sep=;\na;b", "\n\na,b", '"a";b', 'a, "b"']
PARTS = [*'ab ",;\t|\n\n\r\x1aé', '""', '"a"', ', "b"', "a,b\n", "\n,,\n"]


def outline_of(content: bytes, format: str | None, size: int = 7) -> tuple[int | None, list[str] | None]:
    table = Outline(format)
    pieces = [content[i : i + size] for i in range(0, len(content), size)]
    assert b"".join(table.pass_through(pieces)) == content
    return table.rows, table.columns


@given(rows=TABLE, names=st.lists(st.text("xyz \"\n", min_size=1, max_size=3), min_size=4, max_size=4),
       kind=st.sampled_from(["csv", "tsv"]), quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
       end=st.sampled_from(["\n", "\r\n"]), size=st.integers(1, 50), packed=st.booleans(),
       encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]), last=st.booleans())  # fmt: skip
def test_tables_are_counted_as_they_were_written(
    rows: list[list[str]], names: list[str], kind: str, quoting: int, end: str, size: int, packed: bool, encoding: str,
    last: bool,
) -> None:  # fmt: skip
    width = len(rows[0]) if rows else 2
    names = ["name", *names][:width]
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t" if kind == "tsv" else ",", quoting=quoting, lineterminator=end)  # type: ignore[arg-type]
    writer.writerows([names, *rows])
    raw = (text.getvalue() if last else text.getvalue().removesuffix(end)).encode(encoding)
    if packed:
        raw, kind = gzip.compress(raw), f"{kind}.gz"
    filled = [row for row in rows if any(map(str.strip, row))]
    counted = outline_of(raw, kind, size)
    assert counted in ((len(filled), list(dict.fromkeys(filter(None, map(str.strip, names))))), (None, None))
    assert counted[0] is not None or any("\n" in cell for row in rows for cell in row)


@settings(max_examples=300)
@given(
    header=st.sampled_from(HEADERS),
    body=st.lists(st.sampled_from(PARTS), max_size=12),
    kind=st.sampled_from(["csv", "tsv"]),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_what_is_counted_is_what_the_trainer_reads(header: str, body: list[str], kind: str, end: str) -> None:
    content = f"{header}\n{''.join(body)}".replace("\n", end).encode()
    rows, columns = outline_of(content, kind)
    if rows is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a.{kind}"
        path.write_bytes(content)
        with contextlib.suppress(BadData):  # a file that the trainer refuses may be counted in any way
            source = detect(path, path.name)
            records = READERS[kind].records(source, EVERYTHING)
            filled = [record for record in records if record.fault or any(map(str.strip, record.values.values()))]
            assert (len(filled), READERS[kind].header(source)) == (rows, columns)


@given(records=st.lists(st.dictionaries(st.text("ab", min_size=1), st.text() | st.none()), min_size=1),
       size=st.integers(1, 50))  # fmt: skip
def test_json_lines_are_counted(records: list[dict[str, str | None]], size: int) -> None:
    content = "\n \n".join(json.dumps(record) for record in records).encode()
    filled = [record for record in records if any((value or "").strip(" \t\r\n\f") for value in record.values())]
    assert outline_of(content, "jsonl", size) == (len(filled), list(records[0]))


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
        (b"a;b,c\n1,2\n", "csv"),
        (b'a\tb\n"x\ty\nx\ty"\ty\n', "tsv"),
        (b'{"text": ["x", "y"], "label": ["a", "b"]}\n', "jsonl"),
        (b'{"version": 1, "data": [{"text": "x", "label": "a"}]}\n', "jsonl"),
        (b'a,b\nx, "y"\n', "csv"),
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


@pytest.mark.parametrize(
    "content",
    [
        b'{"text": "a", "label": "b"}\n{"text": "c", "label": "d"}\n',
        b'[{"text": "a"}]\n',
        b"__label__a x\n__label__b y\n",
        b"Export 2024\ntext,label\na,b\n",
        b"Export 2024\n\nlabel;Text\na;b\n",
        b"# a comment\ntext,label\na,b\n",
    ],
)
def test_nothing_is_said_of_a_table_whose_header_only_the_trainer_finds(content: bytes) -> None:
    outline = Outline("csv")
    list(outline.pass_through([content]))
    assert (outline.rows, outline.columns) == (None, None)
