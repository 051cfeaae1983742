"""Data files as common tools write them: each file is read as intended, and decisions are reported."""

from __future__ import annotations

import runpy
import sys
from collections import Counter
from pathlib import Path

import pytest

from app.training.data.checking import DataReport, check_files
from app.wire.training_options import Columns

CASES = Path(__file__).parent


def remarks(result: DataReport) -> dict[str, str]:
    assert result.error is None, result.error
    return {remark["kind"]: remark["message"] for remark in result.report.get("remarks", [])}


def counts(result: DataReport) -> Counter[str]:
    """The number of rows of each label, over all splits."""
    total: Counter[str] = Counter()
    for by_label in result.report["labels"].values():
        total.update(by_label)
    return total


def test_an_export_in_cp1252_with_unnamed_columns() -> None:
    result = check_files(CASES / "c02_sms_export_cp1252.csv", columns=Columns(text="v2", label="v1"))
    assert "read as cp1252" in remarks(result)["encoding"] and "'café'" in remarks(result)["encoding"]
    assert counts(result) == {"spam": 12, "ham": 12}


def test_lone_quotes_in_a_tab_separated_table() -> None:
    result = check_files(CASES / "c03_stray_quotes.tsv")
    assert remarks(result)["quoting"] == (
        "c03_stray_quotes.tsv, line 26: with quoting, 12 lines that are complete rows would be joined; the file is "
        "read as tab-separated without quoting"
    )
    assert counts(result) == {"billing": 22, "delivery": 14}


def test_one_array_of_records() -> None:
    result = check_files(CASES / "c08_records.json")
    assert "one JSON array" in remarks(result)["json"]
    assert counts(result) == {"billing": 12, "delivery": 12}


def test_a_byte_order_mark_before_the_first_text() -> None:
    result = check_files(CASES / "c20_bom_lines.txt")
    assert result.report["characters"] == {"train": len("good film\nbad film\n")}


def test_a_table_in_utf16() -> None:
    result = check_files(CASES / "c21_utf16.csv")
    assert {"encoding", "delimiter"} <= remarks(result).keys()
    assert counts(result) == {"billing": 12, "delivery": 12}


def test_parquet_with_an_unreadable_column_and_with_class_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["make_parquet.py", str(tmp_path)])
    runpy.run_path(str(CASES / "make_parquet.py"))
    result = check_files(tmp_path / "c30_ns_time.parquet")
    assert counts(result) == {"billing": 20, "delivery": 20} and result.report["ignored_columns"] == ["created_at"]
    result = check_files(tmp_path / "c31_class_label.parquet")
    assert counts(result) == {"billing": 20, "delivery": 20} and "class_names" in remarks(result)
