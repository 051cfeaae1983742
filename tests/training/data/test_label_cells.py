"""Blanks around labels, labels that are not written as text, and rows without a label are reported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.training.data.scans import scan, scan_labels
from tests.training.data.tables import read, write


def test_labels_are_trimmed_and_told(tmp_path: Path) -> None:
    result, remarks = scan_labels(tmp_path, ["spam ", "spam", "ham", "\u00a0ham", "ham\n"])
    assert result.labels == ["ham", "spam"] and "labels_merged" not in remarks and "delimiters" not in remarks
    remark = remarks["labels_trimmed"]
    assert (remark.where, remark.count, remark.level) == ("line 2, column 'label'", 12, "info")
    assert remark.message == (
        "a.csv, line 2, column 'label': blanks around labels are removed in 12 rows: 'ham\\n' (4 rows) as 'ham', "
        "'spam ' (4 rows) as 'spam', '\\xa0ham' (4 rows) as 'ham'"
    )
    _, remarks = scan_labels(tmp_path, ["spam", "ham"])
    assert "labels_trimmed" not in remarks


@pytest.mark.parametrize("task", [None, "multilabel"])
def test_labels_in_lists_are_trimmed_and_told(task: str | None, tmp_path: Path) -> None:
    labels = [["a", "a "], ["b"], [" b", "a"]]
    rows = [{"text": f"row {n}", "label": labels[n % 3]} for n in range(24)]
    result, remarks = scan(write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows))), task)
    assert sorted(result.strata) == [("a",), ("a", "b"), ("b",)]
    assert remarks["labels_trimmed"].count == 16


def test_blanks_around_separators_are_no_part_of_labels(tmp_path: Path) -> None:
    result, remarks = scan_labels(tmp_path, ["a | b", "a|", "b"], "multilabel")
    assert sorted(result.strata) == [("a",), ("a", "b"), ("b",)] and "labels_trimmed" not in remarks


def test_the_labels_of_a_series_may_differ_in_blanks(tmp_path: Path) -> None:
    steps = "".join(f"{'abcd'[n // 3]},{n},{'pq'[n // 3 % 2]}{' ' * (n % 2)}\n" for n in range(12))
    assert len(read(write(tmp_path, "a.csv", f"series,x,label\n{steps}"))[1]) == 4


def test_labels_of_several_types_are_told(tmp_path: Path) -> None:
    def messages_of(labels: list[Any]) -> tuple[list[str], list[str]]:
        rows = [{"text": f"row {n}", "label": labels[n % len(labels)]} for n in range(24)]
        result, remarks = scan(write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows))))
        return result.labels, [remark.message for kind, remark in remarks.items() if kind == "label_types"]

    message = (
        "a.jsonl, line 2, column 'label': labels that are written as text in some rows, and as numbers, dates or "
        "true/false in others, are treated as the same labels: "
    )
    assert messages_of([2, "1", 1, 1.0]) == (["1", "2"], [message + "'1' (18 rows)"])
    assert messages_of([1, 2, 1.0]) == (["1", "2"], [])
    assert messages_of(["1", "2"]) == (["1", "2"], [])
    assert messages_of([["x"], ["true"], [True, "y"]]) == (["true", "x", "y"], [message + "'true' (16 rows)"])


def test_rows_without_a_label_are_told(tmp_path: Path) -> None:
    _, remarks = scan_labels(tmp_path, ["a", "b", ""], "multilabel")
    assert remarks["no_labels"].message == (
        "a.csv, line 4, column 'label': 4 rows without a label are used as examples to which no label applies"
    )
    rows = "".join(f"row {n},{n % 2},{'' if n % 3 else 1}\n" for n in range(24))
    _, remarks = scan(write(tmp_path, "b.csv", f"text,x,y\n{rows}"), "multilabel", label="x,y")
    assert (remarks["no_labels"].where, remarks["no_labels"].count) == ("line 4, columns 'x', 'y'", 8)
    assert (remarks["blank_flags"].where, remarks["blank_flags"].count) == ("line 3", 16)
