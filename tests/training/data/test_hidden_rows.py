"""Rows that Excel hides are read, and a warning names them."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import openpyxl
import openpyxl.styles
import pytest

from app.training.data import hidden_rows, xlsx
from app.training.data.checking import check_files
from tests.training.data.tables import write


def workbook(hidden: list[int], empty: list[int], rows: int = 40) -> bytes:
    """A workbook whose rows with the numbers `hidden` are hidden, and that has hidden rows without cells."""
    book = openpyxl.Workbook()
    for row in [["text", "label"], *([f"x{n}", "ab"[n % 2]] for n in range(rows))]:
        book.active.append(row)
    for number in [*hidden, *empty]:
        book.active.row_dimensions[number].hidden = True
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def hidden_in(tmp_path: Path, content: bytes) -> list[tuple[str, int]]:
    report = check_files(write(tmp_path, "a.xlsx", content)).report
    assert sum(report["rows"].values()) == 40
    return [(mark["where"], mark["count"]) for mark in report["remarks"] if mark["kind"] == "hidden_rows"]


@pytest.mark.parametrize("block", [1 << 20, 50])
def test_hidden_rows_are_told(block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hidden_rows, "_BLOCK", block)
    assert hidden_in(tmp_path, workbook([5, 6, 9], [60])) == [("row 5", 3)]


def test_hidden_rows_without_values_are_not_counted(tmp_path: Path) -> None:
    book = openpyxl.load_workbook(io.BytesIO(workbook([5], [])))
    for number in (60, 61):
        book.active.cell(number, 1).font = openpyxl.styles.Font(bold=True)
        book.active.row_dimensions[number].hidden = True
    book.save(out := io.BytesIO())
    assert hidden_in(tmp_path, out.getvalue()) == [("row 5", 1)]


def test_the_sheet_is_searched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    search = xlsx.hidden_rows
    monkeypatch.setattr(xlsx, "hidden_rows", lambda *arguments: calls.append(1) or search(*arguments))
    assert hidden_in(tmp_path, workbook([5], [])) == [("row 5", 1)]
    assert len(calls) == 1


def test_a_damaged_sheet_is_named_and_the_remedy_too(tmp_path: Path) -> None:
    """The checksum at the end of the sheet is wrong, so only reading the whole sheet shows the damage."""
    content = workbook([5], [], 5_000)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        checksum = archive.getinfo("xl/worksheets/sheet1.xml").CRC.to_bytes(4, "little")
    content = content.replace(checksum, bytes(byte ^ 1 for byte in checksum))
    error = check_files(write(tmp_path, "a.xlsx", content)).error
    assert error is not None and "is not a readable Excel workbook: Bad CRC-32" in error.message
    assert "save it again as .xlsx, or as CSV UTF-8" in error.message


def test_a_sheet_without_hidden_rows_brings_no_warning(tmp_path: Path) -> None:
    assert hidden_in(tmp_path, workbook([], [60])) == []
