"""Rows that Excel hides are read, and a warning names them."""

from __future__ import annotations

import io
from pathlib import Path

import openpyxl
import pytest

from app.training.data import hidden_rows
from app.training.data.checking import check_files
from tests.training.data.tables import write


def workbook(hidden: list[int], empty: list[int]) -> bytes:
    """A workbook with 40 rows, some of which are hidden, and with hidden rows without cells."""
    book = openpyxl.Workbook()
    for row in [["text", "label"], *([f"x{n}", "ab"[n % 2]] for n in range(40))]:
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


def test_a_sheet_without_hidden_rows_brings_no_warning(tmp_path: Path) -> None:
    assert hidden_in(tmp_path, workbook([], [60])) == []
