"""Comments after the last row of a table are left out and reported; others are faults."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.training.data.checking import check_files
from tests.training.data.tables import write


@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
@pytest.mark.parametrize("comments", [["# exported by a program"], ["", "# 40 rows", "", "#end"], ["  # indented"]])
def test_comments_after_the_last_row_are_left_out(comments: list[str], delimiter: str, tmp_path: Path) -> None:
    rows = [delimiter.join(("text", "label")), *(f"row {n}{delimiter}{'ab'[n % 2]}" for n in range(40))]
    result = check_files(write(tmp_path, "a.csv", "\n".join([*rows, *comments])))
    assert result.error is None and sum(result.report["rows"].values()) == 40
    [remark] = [remark for remark in result.report["remarks"] if remark["kind"] == "last_comments"]
    assert remark["count"] == sum(bool(line.strip()) for line in comments) and remark["level"] == "warn"
    assert "left out as a comment" in remark["message"]


def test_comments_between_rows_and_other_short_rows_are_faults(tmp_path: Path) -> None:
    rows = ["text,label", *(f"row {n},{'ab'[n % 2]}" for n in range(40))]
    between = check_files(write(tmp_path, "a.csv", "\n".join([*rows, "# a", "#b", "last,a"])))
    assert [fault.where[0] for fault in between.faults] == ["line 42", "line 43"]
    other = check_files(write(tmp_path, "b.csv", "\n".join([*rows, "Total: 40"])))
    assert [fault.where[0] for fault in other.faults] == ["line 42"]
    tags = check_files(write(tmp_path, "c.csv", "\n".join([*rows, "#tag,b"])))
    assert sum(tags.report["rows"].values()) == 41
    many = check_files(write(tmp_path, "d.csv", "\n".join([*rows, *["# x"] * 30])))
    assert len(many.faults) == 30
