"""Comments and footers after the last row of a table are left out and reported; others are faults."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.training.data.checking import check_files
from tests.training.data.tables import write, xlsx


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
    other = check_files(write(tmp_path, "b.csv", "\n".join([*rows, "half a row"])))
    assert [fault.where[0] for fault in other.faults] == ["line 42"]
    tags = check_files(write(tmp_path, "c.csv", "\n".join([*rows, "#tag,b"])))
    assert sum(tags.report["rows"].values()) == 41
    many = check_files(write(tmp_path, "d.csv", "\n".join([*rows, *["# x"] * 30])))
    assert len(many.faults) == 30


FOOTERS = [
    ["Total: 300 rows"], ["-- end --"], ["(40 rows)"], ["Summe: 40,"], ["exported by Foo 3.1 on 5 May"], ["", "EOF"],
    ["40 rows in set (0.01 sec)"], ["Source: the office"], ["page 1 of 1"], ["Total number of records: 40"],
]  # fmt: skip


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.xlsx"])
def test_footers_after_the_last_row_are_left_out(name: str, tmp_path: Path) -> None:
    rows = [["text", "label"], *([f"row {n}", "ab"[n % 2]] for n in range(40))]
    for footer in FOOTERS:
        content: str | bytes = "\n".join([*map(",".join, rows), *footer])
        if name == "a.xlsx":
            content = xlsx([*rows, *([line.rstrip(",")] for line in footer)])
        elif name == "a.jsonl":
            content = "\n".join([*(json.dumps({"text": text, "label": label}) for text, label in rows[1:]), *footer])
            content = content.replace("40,", "40")
        result = check_files(write(tmp_path, name, content))
        assert result.error is None and sum(result.report["rows"].values()) == 40, footer
        [remark] = [remark for remark in result.report["remarks"] if remark["kind"] == "last_comments"]
        assert (
            remark["level"] == "warn" and f"as a comment or footer: '{footer[-1][:9].strip(',')}" in remark["message"]
        )


@pytest.mark.parametrize("last", ["Total,40", "exported by Foo on 5 May,12:00", "-- end --,a", "Average,0.5"])
def test_a_whole_row_that_looks_like_a_footer_is_read_with_a_warning(last: str, tmp_path: Path) -> None:
    rows = ["text,label", *(f"row {n},{'ab'[n % 2]}" for n in range(40)), last]
    remarks = check_files(write(tmp_path, "a.csv", "\n".join(rows))).report["remarks"]
    [remark] = [remark for remark in remarks if remark["kind"] == "last_row"]
    assert remark["level"] == "warn" and "line 42: the last row begins with" in remark["message"]


def test_rows_that_need_one_cell_and_other_texts_are_no_footers(tmp_path: Path) -> None:
    rows = ["text,note", *(f"row number {n}," for n in range(40)), "Total: 40,"]
    result = check_files(write(tmp_path, "a.csv", "\n".join(rows)), task="generation")
    assert sum(result.report["rows"].values()) == 41
    rows = ["text,label", *(f"row {n},{'ab'[n % 2]}" for n in range(40)), "Total recall of a text,a"]
    remarks = check_files(write(tmp_path, "b.csv", "\n".join(rows))).report["remarks"]
    assert not {"last_row", "last_comments"} & {remark["kind"] for remark in remarks}
