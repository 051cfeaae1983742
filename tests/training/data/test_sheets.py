"""The sheet of a workbook that contains the table is read, and messages name the sheets."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from app.training.data.checking import check_files
from app.wire.training_options import Columns
from tests.training.data.tables import write

ROWS = [[f"row {n}", "ab"[n % 2]] for n in range(40)]
DATA, NAMED = [["text", "label"], *ROWS], [["body", "kind"], *ROWS]
NOTES: list[list[Any]] = [["Read me"], ["This is the report"], ["of the year", 2024]]
EMPTY: list[list[Any]] = []


def book(folder: Path, **sheets: list[list[Any]]) -> Path:
    workbook = openpyxl.Workbook()
    workbook.remove(workbook.active)
    for title, rows in sheets.items():
        sheet = workbook.create_sheet(title)
        for row in rows:
            sheet.append(row)
    out = io.BytesIO()
    workbook.save(out)
    return write(folder, "a.xlsx", out.getvalue())


@pytest.mark.parametrize(
    ("sheets", "columns", "name", "reason"),
    [
        ({"Intro": NOTES, "Data": DATA}, Columns(), "Data", "the only one with the names of usual columns"),
        ({"Blank": EMPTY, "Data": DATA}, Columns(), "Data", "the only one with rows"),
        ({"Old": NAMED, "Intro": NOTES, "Data": DATA}, Columns(), "Data", "the only one with the names of usual"),
        (
            {"Data": DATA, "Other": NAMED},
            Columns(text="body", label="kind"),
            "Other",
            "with the columns of the request",
        ),
        ({"Train": DATA, "Test": DATA}, Columns(), "Train", ""),
        ({"Data": DATA, "Intro": NOTES}, Columns(), "Data", ""),
    ],
)
def test_the_sheet_with_the_table_is_read_and_named(
    sheets: dict[str, list[list[Any]]], columns: Columns, name: str, reason: str, tmp_path: Path
) -> None:
    result = check_files(book(tmp_path, **sheets), columns=columns)
    assert result.error is None and sum(result.report["rows"].values()) == 40
    [remark] = [remark for remark in result.report["remarks"] if remark["kind"] == "sheets"]
    assert f"only the sheet {name!r} is read, not" in remark["message"] and reason in remark["message"]
    assert ("because" in remark["message"]) == bool(reason)


@pytest.mark.parametrize("sheets", [{"Intro": NOTES, "Tables": NOTES}, {"Intro": NAMED, "Tables": NAMED}])
def test_errors_name_the_sheets(sheets: dict[str, list[list[Any]]], tmp_path: Path) -> None:
    error = check_files(book(tmp_path, **sheets)).error
    assert error is not None and "only the sheet 'Intro' is read, not 'Tables'; to read another" in error.message
