"""Encodings: UTF-8, byte order marks, UTF-16, plausible cp1252, and otherwise an error with the place."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from app.training.data.checking import check_files
from app.training.data.detection import detect
from app.training.data.files import Source, characters
from app.training.failures import BadData
from tests.training.data.tables import read, remarks_of, write

ROWS = "text,label\n" + "".join(f"Où est le café n° {n} ?,déjà\nDon’t pay £5 – wait…,naïve\n" for n in range(20))
CZECH = "text,label\n" + "Dobrý den, příšerně žluťoučký kůň\n".replace(", ", " ") * 20
POLISH = "text,label\n" + "Zażółć gęślą jaźń małymi łapkami,źle\n" * 20
RUSSIAN = "text,label\n" + "Где моя посылка,доставка\n" * 20
JAPANESE = "text,label\n" + "荷物はどこですか,配達\n" * 20


def texts(source: Source) -> str:
    return "".join(characters(source))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("encoding", "remark"),
    [
        ("utf-8", None),
        ("utf-8-sig", None),
        ("utf-16", "is read as UTF-16"),
        ("utf-16-le", "is read as UTF-16"),
        ("utf-16-be", "is read as UTF-16"),
        ("utf-32", "is read as UTF-32"),
        ("cp1252", "is read as cp1252"),
    ],
)
def test_an_encoding_is_detected_and_told(encoding: str, remark: str | None, packed: bool, tmp_path: Path) -> None:
    content = ROWS.encode(encoding)
    name = "a.csv.gz" if packed else "a.csv"
    source = detect(write(tmp_path, name, gzip.compress(content) if packed else content), name)
    assert texts(source) == ROWS
    messages = remarks_of(source).values()
    assert (remark is None and not messages) or [message for message in messages if str(remark) in message]


def test_cp1252_is_a_warning_with_words_that_a_user_can_judge(tmp_path: Path) -> None:
    layout, examples = read(write(tmp_path, "a.csv", ROWS.encode("cp1252")))
    assert {example.labels for example in examples} == {("déjà",), ("naïve",)}
    [remark] = layout.source.remarks
    assert (remark.kind, remark.level) == ("encoding", "warn")
    assert "'Où'" in remark.message and "--encoding" in remark.message


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (CZECH, "cp1250"),
        (POLISH, "cp1250"),
        (POLISH, "iso8859-2"),
        (RUSSIAN, "cp1251"),
        (RUSSIAN, "koi8-r"),
        (JAPANESE, "shift_jis"),
        (JAPANESE, "euc_jp"),
        (ROWS, "mac_roman"),
        (ROWS.replace("’", "'").replace("–", "-").replace("…", "."), "cp850"),
    ],
)
def test_other_encodings_are_asked_for_and_then_used(text: str, encoding: str, tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", text.encode(encoding))
    with pytest.raises(BadData, match=r"line \d+, column \d+: the byte 0x.*training\.encoding") as caught:
        detect(path, "a.csv")
    assert "the encoding may be" not in caught.value.message or "cp850 or cp437 (DOS)" in caught.value.message
    assert texts(detect(path, "a.csv", encoding=encoding)) == text


def test_a_byte_that_does_not_fit_the_declared_encoding_is_a_fault_of_its_row(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", b"text,label\n" + b"x,a\ny,b\n" * 10 + b"x\x81,a\n")
    [fault] = check_files(path, encoding="cp1252").faults
    assert fault.message == (
        "a.csv, line 22, column 'text': the byte 0x81 is not valid cp1252, the encoding set in training.encoding "
        "(--encoding). Fix this row, or set training.skip_bad_rows to 0.048 or more to leave it out"
    )


@pytest.mark.parametrize(
    ("name", "start", "bad", "good"),
    [
        ("a.csv", "text,label\n", b"caf\xe9,a\n", "é {n},{of}\n"),
        ("a.csv", "\ufefftext,label,other\n", b"a,b,\xff\n", "é {n},{of},c\n"),
        ("a.tsv", "text\tlabel\n", b"a\t\xc3\n", "é {n}\t{of}\n"),
        ("a.jsonl", "", b'{"text": "a", "label": ["\xe9"]}\n', '{"text": "é {n}", "label": ["{of}"]}\n'),
        ("a.jsonl", '{"text": "a", "label": "b"}\n', b'{"\xe9": "a"}\n', '{"text": "é {n}", "label": "{of}"}\n'),
        ("a.txt", "", b"__label__a caf\xe9\n", "__label__{of} é {n}\n"),
    ],
)
def test_every_row_with_broken_utf8_is_reported(name: str, start: str, bad: bytes, good: str, tmp_path: Path) -> None:
    lines = [good.replace("{n}", str(n)).replace("{of}", "ab"[n % 2]).encode() for n in range(40)]
    lines[1], lines[5], lines[30] = bad, bad, bad
    path = write(tmp_path, name, start.encode() + b"".join(lines))
    faults = check_files(path).faults
    assert [fault.where[0] for fault in faults] == [f"line {n + 1 + start.count(chr(10))}" for n in (1, 5, 30)]
    assert "is not valid UTF-8; save the file as UTF-8, or set training.encoding" in faults[0].message
    assert all(fault.message.isprintable() for fault in faults)
    result = check_files(path, skip_bad_rows=0.1)
    assert result.error is None and result.report["dropped"]["rows"] == 3
    json.dumps(result.report, ensure_ascii=False).encode()


def test_all_lines_of_a_text_with_broken_utf8_are_listed(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", b"\xc3\xa9t\xc3\xa9\n" * 9 + b"caf\xe9\nx\ncaf\xe9\n")
    error = check_files(path).error
    assert error is not None and error.where == ("line 10", "column 4")
    assert "the byte 0xe9 at offset 57 is not valid UTF-8" in error.message
    assert error.message.endswith("In total, 2 lines have such bytes (line 10, line 12)")


def test_a_header_with_broken_utf8_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", b"text,labl\xe9\n" + "é,a\n".encode() * 20)
    error = check_files(path).error
    assert error is not None and error.message.startswith("a.csv, line 1: the byte 0xe9 is not valid UTF-8")


def test_broken_utf8_is_not_taken_for_cp1252(tmp_path: Path) -> None:
    content = ROWS.encode() + b"caf\xe9,x\n"
    with pytest.raises(BadData, match=r"line 42, column 'text': the byte 0xe9 is not valid UTF-8"):
        read(write(tmp_path, "a.csv", content))


@pytest.mark.parametrize("content", [b"\x00\x01\x02\x00" * 900, b"\x00" * 5000])
def test_bytes_that_are_no_text_are_refused(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(BadData, match="is not a text file: it contains many zero bytes"):
        detect(write(tmp_path, "a.csv", content), "a.csv")


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.txt"])
@pytest.mark.parametrize("mark", ["\ufeff", "\ufeff\ufeff"])
def test_byte_order_marks_are_no_part_of_the_text(name: str, mark: str, tmp_path: Path) -> None:
    content = '{"text": "x"}\n' if name == "a.jsonl" else "text\nx\n"
    source = detect(write(tmp_path, name, mark + content), name)
    assert texts(source) == content


@pytest.mark.parametrize(("name", "noun"), [("a.xlsx", "an Excel workbook"), ("a.parquet", "a parquet file")])
def test_a_file_that_is_named_as_binary_but_is_neither_that_nor_text_is_told(
    name: str, noun: str, tmp_path: Path
) -> None:
    path = write(tmp_path, name, b"\x01\x81\x8d\x02\x9d\x03" * 50)
    with pytest.raises(BadData, match=f"is declared or named as {name[2:]}, but is not {noun}"):
        detect(path, name)
