"""Comments and footers after the last row of a table are left out and reported. Anywhere else, they are faults."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.training.data import last_comments
from app.training.data.checking import check_files
from tests.training.data.scans import scan
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


@pytest.mark.parametrize("name", ["a.csv", "a.xlsx"])
@pytest.mark.parametrize(
    "last", ["Summe,,,266.70", "Total,,,40", "Summe,,,12.50 EUR", "Average,,,80 %", "Summe:,,,€ 3"]
)
def test_a_sum_in_columns_that_are_not_used_is_a_footer(last: str, name: str, tmp_path: Path) -> None:
    lines = ["nr,text,label,amount", *(f"{n},row {n},{'ab'[n % 2]},{n}.50" for n in range(40)), last]
    content = xlsx([[cell or None for cell in line.split(",")] for line in lines]) if name == "a.xlsx" else None
    result, remarks = scan(write(tmp_path, name, content or "\n".join(lines)))
    assert len(result.splits_N) == 40 and remarks["last_comments"].count == 1
    assert not {"last_row", "empty_rows"} & remarks.keys()


def test_sums_in_other_languages_are_footers(tmp_path: Path) -> None:
    words = "Gesamtsumme, Zwischensumme, Durchschnitt, Somme, Moyenne, Suma, Promedio, Somma, Σ, Subtotal, Grand total"
    for word in (*words.split(", "), "Sous-total", "Sub-total"):
        rows = ["nr,text,label,amount", *(f"{n},row {n},{'ab'[n % 2]},{n}.50" for n in range(40))]
        result, remarks = scan(write(tmp_path, "a.csv", "\n".join([*rows, f"{word},,,266.70"])))
        assert len(result.splits_N) == 40 and "last_comments" in remarks, word


@pytest.mark.parametrize("last", ["Summe,,,all of them", "Total,,,many"])
def test_a_row_without_the_used_cells_is_not_said_to_be_read(last: str, tmp_path: Path) -> None:
    lines = ["nr,text,label,amount", *(f"{n},row {n},{'ab'[n % 2]},{n}" for n in range(40)), last]
    _, remarks = scan(write(tmp_path, "a.csv", "\n".join(lines)))
    assert "last_row" not in remarks and remarks["empty_rows"].count == 1


LONG = [
    "-" * 9000 + " Original message, by a: b",
    "total" + " " * 3000 + "x",
    "#" * 9000,
    "end of " + "a" * 9000 + "!" * 50,
]


@pytest.mark.parametrize("has_limit", [True, False])
def test_long_texts_are_no_footers_and_are_matched_in_linear_time(
    has_limit: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_limit:
        monkeypatch.setattr(last_comments, "_LONGEST", 1 << 20)
    for text in LONG:
        rows = ["text,label", *(f"row {n},{'ab'[n % 2]}" for n in range(40)), f'"{text}",a']
        result = check_files(write(tmp_path, "a.csv", "\n".join(rows)))
        assert result.error is None and sum(result.report["rows"].values()) == 41
        kinds = {remark["kind"] for remark in result.report["remarks"]}
        assert ("last_row" in kinds) is (not has_limit and text.startswith("#"))


@pytest.mark.parametrize(
    ("name", "header", "rows", "last", "task"),
    [
        ("a.csv", "text,label", ["row {n},a|b", "row {n},b"], "Note: buy milk,", "multilabel"),
        ("a.csv", "text,label", ["row {n},a|b", "row {n},b"], "12 items in the cart were wrong,", "multilabel"),
        ("a.xlsx", "text,label", ["row {n},a|b", "row {n},b"], "Note: buy milk,", "multilabel"),
        ("a.csv", "text,a,b", ["row {n},1,0", "row {n},0,1"], "Note: buy milk,,", "multilabel"),
        ("a.csv", "text,split", ["row number {n},train", "line number {n},train"], "Note: buy milk,", "generation"),
        ("a.csv", "prompt,completion", ["row {n},a b", "row {n},b c"], ",Note: buy milk", "generation"),
    ],
)
def test_a_row_with_one_cell_is_read_if_it_needs_no_other(
    name: str, header: str, rows: list[str], last: str, task: str, tmp_path: Path
) -> None:
    lines = [header, *(rows[n % 2].format(n=n) for n in range(40)), last]
    content = xlsx([[cell or None for cell in line.split(",")] for line in lines]) if name == "a.xlsx" else None
    named = {"label": "a,b"} if header == "text,a,b" else {}
    result, remarks = scan(write(tmp_path, name, content or "\n".join(lines)), task, **named)
    assert len(result.splits_N) == 41 and remarks["last_row"].level == "warn" and "last_comments" not in remarks


def test_a_row_without_a_text_is_a_footer_although_it_needs_no_label(tmp_path: Path) -> None:
    lines = ["text,label", *(f"row {n},{'ab'[n % 2]}" for n in range(40)), ",Total: 40 rows"]
    result, remarks = scan(write(tmp_path, "a.csv", "\n".join(lines)), "multilabel")
    assert len(result.splits_N) == 40 and "last_row" not in remarks and remarks["last_comments"].count == 1


@pytest.mark.parametrize("name", ["a.csv", "a.xlsx"])
@pytest.mark.parametrize("last", ["Total,,42000", "Total,,sum", "Average,3,"])
def test_a_sum_in_a_table_of_numbers_is_a_footer(last: str, name: str, tmp_path: Path) -> None:
    lines = ["area,rooms,price", *(f"{n},{n % 5},{n}.50" for n in range(40)), last]
    content = xlsx([[cell or None for cell in line.split(",")] for line in lines]) if name == "a.xlsx" else None
    result, remarks = scan(write(tmp_path, name, content or "\n".join(lines)), value="price")
    assert len(result.splits_N) == 40 and remarks["last_comments"].count == 1
