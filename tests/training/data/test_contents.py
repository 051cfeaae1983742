"""A table whose file name suggests another format is read in its actual format, with a remark about this."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.training.data.checking import check_files
from app.training.data.contents import other_format
from tests.training.data.tables import parquet, write, xlsx

ROWS = [{"text": f"row {number}, quoted", "label": "ab"[number % 2]} for number in range(24)]
LINES = "\n".join(map(json.dumps, ROWS))
ARRAY = json.dumps(ROWS)
PRETTY = json.dumps(ROWS, indent=2)
ARRAYS = json.dumps([["text", "label"], *(list(row.values()) for row in ROWS)])
LINES_OF_ARRAYS = "\n".join(json.dumps(row) for row in (["text", "label"], *(list(row.values()) for row in ROWS)))
FASTTEXT = "\n".join(f"__label__{row['label']} {row['text']}" for row in ROWS)
CSV = "text,label\n" + "\n".join(f'"{row["text"]}",{row["label"]}' for row in ROWS)
QUOTED = '"text","label"\n' + "\n".join(f'"{row["text"]}","{row["label"]}"' for row in ROWS)
TSV = "text\tlabel\n" + "\n".join(f"{row['text']}\t{row['label']}" for row in ROWS)
SEMICOLONS = "body;label\n" + "\n".join(f"{row['text']};{row['label']}" for row in ROWS)


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("a.csv", LINES, "JSON"),
        ("a.csv", ARRAY, "JSON"),
        ("a.csv", PRETTY, "JSON"),
        ("a.csv", ARRAYS, "JSON"),
        ("a.csv", LINES_OF_ARRAYS, "JSON"),
        ("a.csv", FASTTEXT, "lines in fastText format"),
        ("a.tsv", LINES, "JSON"),
        ("a.tsv", "\ufeff" + LINES, "JSON"),
        ("a.jsonl", CSV, "CSV"),
        ("a.json", QUOTED, "CSV"),
        ("a.jsonl", TSV, "TSV"),
        ("a.jsonl", FASTTEXT, "lines in fastText format"),
        ("a.parquet", CSV, "CSV"),
        ("a.xlsx", TSV, "TSV"),
        ("a.xlsx", LINES, "JSON"),
    ],
)
def test_a_table_is_read_as_what_it_is_and_told(name: str, content: str, kind: str, tmp_path: Path) -> None:
    result = check_files(write(tmp_path, name, content.encode()))
    assert result.error is None and result.task == "classification"
    assert sum(result.report["rows"].values()) == 24
    [remark] = [remark for remark in result.report["remarks"] if remark["kind"] == "other_format"]
    assert remark["message"].startswith(f"{name} is read as {kind}")


def test_another_name_of_the_column_is_found_in_any_format(tmp_path: Path) -> None:
    from app.wire.training_options import Columns

    result = check_files(write(tmp_path, "a.jsonl", SEMICOLONS), columns=Columns(text="body"))
    assert result.error is None and sum(result.report["rows"].values()) == 24


@pytest.mark.parametrize(("content", "kind"), [(parquet(), "a parquet file"), (xlsx(), "an Excel workbook")])
def test_a_binary_table_is_read_under_any_name(content: bytes, kind: str, tmp_path: Path) -> None:
    for name in ("a.csv", "a.txt", "a.jsonl"):
        remarks = check_files(write(tmp_path, name, content)).report["remarks"]
        assert any(remark["message"].startswith(f"{name} is read as {kind}, not as") for remark in remarks)


@pytest.mark.parametrize(
    ("content", "format_"),
    [
        (CSV, "csv"),
        (TSV, "csv"),
        (SEMICOLONS, "tsv"),
        (LINES, "jsonl"),
        (ARRAY, "jsonl"),
        (PRETTY, "jsonl"),
        (LINES, "text"),
        ("[text],[label]\na,b", "csv"),
        ("{text},label\na,b", "csv"),
        ('"a"\n"b"\n', "jsonl"),
        ("1\n2\n", "jsonl"),
        ("some prose, with a comma\nand none", "jsonl"),
        ("__label__a x\nplain", "csv"),
        ("", "csv"),
    ],
)
def test_a_format_is_kept_if_no_other_one_is_certain(content: str, format_: str) -> None:
    assert other_format(content, format_) == ("", "")


@pytest.mark.parametrize("content", [ARRAYS, LINES_OF_ARRAYS])
def test_rows_as_arrays_are_named_by_the_first_one(content: str, tmp_path: Path) -> None:
    result = check_files(write(tmp_path, "a.json", content))
    assert (result.error, sum(result.report["rows"].values())) == (None, 24)
    assert any("the first array names the columns" in remark["message"] for remark in result.report["remarks"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            ARRAYS.replace('["row 3, quoted", "b"]', '["row 3"]'),
            "row 5: the array has 1 value, but the first one has 2",
        ),
        (ARRAYS.replace('["row 3, quoted", "b"]', "3"), "row 5: expected a JSON object, found a scalar value"),
        ("[[1, 2], [3, 4]]", "found an array; for rows as arrays, the first array must name the columns"),
        ("[1, 2]\n[3, 4]\n", "found an array; for rows as arrays, the first array must name the columns"),
    ],
)
def test_arrays_that_are_not_rows_are_refused(content: str, message: str, tmp_path: Path) -> None:
    error = check_files(write(tmp_path, "a.json", content)).faults[0]
    assert message in error.message


@pytest.mark.parametrize(
    "content",
    [
        "<table><tr><td>text</td></tr></table>",
        "\n<TABLE border=1>",
        '<html xmlns:o="urn:schemas-microsoft-com:office:office"><head>',
        "<meta charset=utf-8><table>",
        "MIME-Version: 1.0\nContent-Type: multipart/related",
    ],
)
def test_html_under_the_name_of_a_spreadsheet_is_refused_by_its_name(content: str, tmp_path: Path) -> None:
    error = check_files(write(tmp_path, "export.xls", content)).error
    assert error is not None and "save it as CSV UTF-8" in error.message
    assert "HTML table" in error.message or "web page" in error.message


def test_a_text_under_the_name_of_a_table_is_told(tmp_path: Path) -> None:
    text = "Once upon a time there was a king.\n" * 300
    [remark] = check_files(write(tmp_path, "a.xls", text)).report["remarks"]
    assert (remark["kind"], remark["level"]) == ("read_as_text", "warn") and "ends in .xls" in remark["message"]
    assert not check_files(write(tmp_path, "a.txt", text)).report.get("remarks")
    assert not check_files(write(tmp_path, "a.xls", text), task="generation").report.get("remarks")
