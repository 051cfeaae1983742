"""Titles above the header of a table, and the lists of columns in messages."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.training.data.checking import check_files
from app.training.data.usual_names import header_after_title, quoted
from app.wire.training_options import Columns
from tests.training.data.tables import write, xlsx

ROWS = "".join(f"row {number},{'ab'[number % 2]}\n" for number in range(24))


@pytest.mark.parametrize(
    ("before", "header"),
    [
        ("Export 2024\n", "text,label\n"),
        ("Export 2024,,\n\n", "text,label\n"),
        ("# exported by a tool, on Monday\n# version 2\n", "text,label\n"),
        ("#a\n", "Text,Category\n"),
        ("Report\nSecond line\n\n", "label,text,id\n"),
    ],
)
def test_a_title_before_the_header_is_skipped_and_told(before: str, header: str, tmp_path: Path) -> None:
    rows = ROWS
    if header.startswith("label"):
        rows = "".join(f"{'ab'[n % 2]},row {n},{n}\n" for n in range(24))
    result = check_files(write(tmp_path, "a.csv", before + header + rows))
    assert (result.error, result.task, sum(result.report["rows"].values())) == (None, "classification", 24)
    [remark] = [remark for remark in result.report["remarks"] if remark["kind"] == "title"]
    number = before.count("\n") + 1
    assert f"the header is line {number}, which names the columns" in remark["message"] and remark["level"] == "warn"


def test_a_title_in_a_workbook_is_skipped_and_told(tmp_path: Path) -> None:
    rows = [("Export 2024", None), (None, None), ("text", "label"), *((f"row {n}", "ab"[n % 2]) for n in range(24))]
    result = check_files(write(tmp_path, "a.xlsx", xlsx(rows)))
    assert (result.error, sum(result.report["rows"].values())) == (None, 24)
    assert any("the header is row 3" in remark["message"] for remark in result.report["remarks"])


@pytest.mark.parametrize("name", ["a.csv", "a.xlsx"])
def test_a_row_with_all_requested_names_is_the_header(tmp_path: Path, name: str) -> None:
    data = [[str(n), f"row {n}", "ab"[n % 2]] for n in range(24)]
    rows = [["Report 2025", "", ""], ["", "", ""], ["No", "Body", "Kind"], *data]
    content = xlsx(rows) if name.endswith("xlsx") else "".join(";".join(row) + "\n" for row in rows)
    result = check_files(write(tmp_path, name, content), columns=Columns(text="Body", label="Kind"))
    assert (result.error, sum(result.report["rows"].values())) == (None, 24)
    [remark] = [remark for remark in result.report["remarks"] if remark["kind"] == "title"]
    assert " 3, which names the columns 'No', 'Body', 'Kind'" in remark["message"] and remark["level"] == "warn"


@pytest.mark.parametrize(
    ("requested", "index"),
    [
        (["Body", "Kind"], 1), (["Body", "Kind,No"], 1), (["body"], 0), (["Body", "Other"], 0), (["x"], 0), ([], 0),
    ],
)  # fmt: skip
def test_a_requested_name_in_a_row_of_values_is_no_header(requested: list[str], index: int) -> None:
    assert header_after_title([["Report"], ["No", "Body", "Kind"], ["1", "x", "y"]], requested) == index


@pytest.mark.parametrize("name", ["a.csv", "a.xlsx"])
def test_a_repeated_column_below_a_title_is_named(tmp_path: Path, name: str) -> None:
    data = [[f"row {n}", "ab"[n % 2], "", "n"] for n in range(24)]
    rows = [["Export 2024"], [], ["text", "label", "", "text"], *data]
    content = xlsx(rows) if name.endswith("xlsx") else "".join(",".join(row) + "\n" for row in rows)
    error = check_files(write(tmp_path, name, content)).error
    assert error is not None and "the column 'text' appears 2 times; rename all but one" in error.message


@pytest.mark.parametrize(
    "rows",
    [
        [["text"], ["text", "label"]],  # a table of texts
        [["doc", "kind"], ["hello", "text"]],  # "text" is a value
        [["Title"], ["hello", "world"]],
        [["Title"], ["text", "text"]],
        [["a", "b", "c"], ["x"]],
        [],
    ],
)
def test_a_row_that_may_be_the_header_is_kept(rows: list[list[str]]) -> None:
    assert header_after_title(rows) == 0


def test_a_header_that_cannot_be_found_is_explained(tmp_path: Path) -> None:
    error = check_files(write(tmp_path, "a.csv", f"Export 2024\nbody,kind\n{ROWS}"), task="classification").error
    assert error is not None and "the first row must name the columns, so remove any title before it" in error.message


def test_one_cell_and_one_row_are_in_the_singular(tmp_path: Path) -> None:
    error = check_files(write(tmp_path, "a.csv", "text,label\na,b\nc\n")).faults[0]
    assert "the row has 1 cell, but the header has 2 ('text', 'label')" in error.message
    rows = "".join(f"row {n},{'ab'[n % 2]},\n" for n in range(24))
    report = check_files(write(tmp_path, "b.csv", f"text,label,\nx,a,more\n{rows}")).report
    assert any("1 row has values in columns without a name" in remark["message"] for remark in report["remarks"])


def test_lists_of_columns_are_bounded(tmp_path: Path) -> None:
    names = [f"column {n}" for n in range(5000)]
    assert quoted(names).endswith("'column 19' and 4,980 more") and len(quoted(["x" * 9999])) < 80
    path = write(tmp_path, "a.csv", ",".join(names) + "\n" + ",".join(["x"] * 5000) + "\n")
    for columns in (Columns(), Columns(text="body"), Columns(text="column 1", label="column 2,missing")):
        error = check_files(path, columns=columns, task="classification").error
        assert error is not None and len(error.message) < 1500
    error = check_files(write(tmp_path, "b.csv", ",".join(["text", "label", *names]) + "\na,b\nc\n")).faults[0]
    assert "the row has 1 cell, but the header has 5002" in error.message and len(error.message) < 1500
