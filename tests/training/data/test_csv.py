"""CSV and TSV: errors in quotes and in the header are reported with line and column."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.training.data.checking import check_files
from app.training.data.detection import detect
from app.training.data.files import EVERYTHING, Selection
from app.training.data.formats import READERS
from app.training.failures import BadData
from tests.training.data.tables import assert_fault, read, remarks_of, write


@pytest.mark.parametrize(
    ("name", "content", "parts"),
    [
        ("a.csv", "text,label\nx,y,z\n", ["line 2", "column 3", "3 cells, but the header has 2"]),
        ("a.csv", "text,label\nx,y\nz\n", ["line 3", "'label'", "a cell is missing"]),
        ("a.csv", 'text,label\nx,y\n"open,y\nx,y\n', ["line 3", "column 'text'", "malformed CSV", "no closing quote"]),
        (
            "a.csv",
            'text,label\nx,y\n"two\nlines","open\n',
            ["line 4", "column 'label'", "malformed CSV", "no closing quote"],
        ),
        ("a.csv", 'text,label\n"x" z,y\n', ["line 2", "column 'text'", "malformed CSV", "written twice"]),
        ("a.csv", 'text,label\n"a ""b""",y\nx,"y"z\n', ["line 3", "column 'label'", "malformed CSV"]),
        ("a.csv", "text,text\nx,y\n", ["line 1", "'text'", "2 times"]),
        ("a.csv", "features,label\n[1;y\n", ["line 2", "'label'", "a cell is missing"]),
    ],
)
def test_faults_are_reported_with_their_place(
    name: str, content: str | bytes, parts: list[str], tmp_path: Path
) -> None:
    assert_fault(write(tmp_path, name, content), *parts)


def values_of(path: Path, ignored: str = "") -> tuple[list[dict[str, str]], dict[str, str]]:
    """The values of all records, and the remarks by kind. `ignored` contains unused columns, separated by |."""
    source = detect(path, path.name)
    selection = Selection(frozenset(ignored.split("|")))
    return [record.values for record in READERS["csv"].records(source, selection)], remarks_of(source)


@pytest.mark.parametrize(
    "rows",
    [["x,y", ",", ","], [",", "x,y"], ["x,y", "   ", ",,,,", '"",""', " , "], ["x,y", '"\n",']],
)
def test_rows_without_any_value_may_have_any_width(rows: list[str], tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "\n".join(["text,label", *rows, "w,z", ""]))
    assert [(example.text, example.labels) for example in read(path)[1] if example.usable] == [
        ("x", ("y",)),
        ("w", ("z",)),
    ]
    assert len(read(path)[1]) == len(rows) + 1


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_may_end_in_any_way_and_the_file_with_ctrl_z(end: str, tmp_path: Path) -> None:
    for tail in ("", "\x1a", "\n\x1a", "\n\x1a\n\n", "\x1a\x00\x00"):
        content = f'text,label\nx,y\n"two\nlines",z{tail}'.replace("\n", end)
        rows, remarks = values_of(write(tmp_path, "a.csv", content))
        assert rows == [{"text": "x", "label": "y"}, {"text": f"two{end}lines", "label": "z"}]
        assert ("end_mark" in remarks, "line_ends" in remarks) == (bool(tail), end == "\r")


def test_cells_of_cr_lines_may_hold_line_feeds(tmp_path: Path) -> None:
    content = 'text,label\r"two\nlines",y\rw,z\r'
    assert values_of(write(tmp_path, "a.csv", content))[0][0] == {"text": "two\nlines", "label": "y"}


def test_ctrl_z_before_the_end_is_a_character(tmp_path: Path) -> None:
    rows, remarks = values_of(write(tmp_path, "a.csv", "text,label\nx\x1a,y\nw,z\n"))
    assert rows[0] == {"text": "x\x1a", "label": "y"} and remarks == {}
    marks = "\x1a " * 200_000  # looking for the end mark takes linear time
    rows, remarks = values_of(write(tmp_path, "b.csv", f"text,label\n{marks}x,y\nw,z\n"))
    assert rows[0] == {"text": f"{marks}x", "label": "y"} and "end_mark" not in remarks


@pytest.mark.parametrize(
    ("content", "warned"),
    [
        ("text,label,,,\nx,y,,,\nw,z,,,\n", False),
        ("text,label,,,\nx,y\nw,z,\n", False),
        (",text,label\n0,x,y\n1,w,z\n", True),
        ("text,label,\nx,y,\nw,z,a note\n", True),
        ("\n \ntext,label\nx,y\nw,z\n", False),
        ("text,label\nx,y,\nw,z,,,\n", False),
    ],
)
def test_columns_without_a_name_are_not_read(content: str, warned: bool, tmp_path: Path) -> None:
    rows, remarks = values_of(write(tmp_path, "a.csv", content))
    assert rows == [{"text": "x", "label": "y"}, {"text": "w", "label": "z"}]
    assert ("unnamed_columns" in remarks) is warned


def test_a_repeated_column_is_refused_only_where_it_is_needed(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "text,label,id,id\nx,y,1,2\nw,z,1,2\n")
    layout, examples = read(path)
    assert [example.text for example in examples] == ["x", "w"] and layout.ignored == ("id",)
    with pytest.raises(BadData, match="line 1: the column 'id' appears 2 times; rename"):
        read(path, text="text", label="id")
    with pytest.raises(BadData, match="the column 'a' appears 2 times"):
        read(write(tmp_path, "b.csv", "series,a,a,label\nx,1,2,up\nw,1,2,down\n"))


def test_cells_that_nobody_needs_may_be_missing(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "text,label,note\nx,y\n")
    assert values_of(path, ignored="note")[0] == [{"text": "x", "label": "y", "note": ""}]
    fault = next(READERS["csv"].records(detect(path, "a.csv"), EVERYTHING)).fault
    assert fault is not None and "line 2, column 'note'" in fault.message


def test_a_header_that_is_repeated_is_left_out_and_told(tmp_path: Path) -> None:
    table = "text,label\nx,a\ny,b\n"
    values, remarks = values_of(write(tmp_path, "a.csv", table * 2 + "text , label,\nx,a\ny,b\n"))
    assert [row["text"] for row in values] == ["x", "y"] * 3
    assert remarks["repeated_header"] == (
        "a.csv, line 4: 2 rows repeat the header, as in files that were joined, and are left out"
    )
    values, remarks = values_of(write(tmp_path, "b.csv", "text\nx\ntext\n"))  # the text may be the word itself
    assert [row["text"] for row in values] == ["x", "text"] and "repeated_header" not in remarks


def test_a_header_after_a_byte_order_mark_is_repeated_too(tmp_path: Path) -> None:
    values, remarks = values_of(write(tmp_path, "a.csv", "text,label\nx,a\n\ufefftext,label\ny,b\n"))
    assert [row["text"] for row in values] == ["x", "y"] and "repeated_header" in remarks


TABLE = "text,label\n" + "".join(f"x{n},{'ab'[n % 2]}\n" for n in range(20))


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (f"{TABLE}y,a\rz,b\rw,a\n", "line 22: 2 rows end with CR only, but others end with LF; CR is also read as"),
        (f"{TABLE}y,a\rz,b\r\nw,a\n", "line 22: 1 row ends with CR only, but others end with LF"),
        (TABLE.replace("\n", "\r") + "y,a\nz,b\rw,a\r", "line 22: 1 row ends with LF only, but others end with CR"),
        (TABLE.replace("label\n", "label\r") + 'y,a\nz,"b ""b"""\nw,a\n', "line 1: 1 row ends with CR only"),
    ],
)
def test_a_line_end_of_another_kind_between_rows_is_read_and_told(content: str, place: str, tmp_path: Path) -> None:
    values, remarks = values_of(write(tmp_path, "a.csv", content))
    assert [row["text"] for row in values] == [*(f"x{n}" for n in range(20)), "y", "z", "w"]
    assert f"a.csv, {place}" in remarks["stray_line_ends"]


def test_a_line_end_of_another_kind_within_a_row_is_a_fault_of_the_row(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", f"{TABLE}y\ry,a\nw,a\nz,a\rz\n")
    faults = check_files(path).faults
    assert [fault.where[0] for fault in faults] == ["line 22", "line 24"]
    assert "a line ends with CR only, but others end with LF; use one kind of line end, or enclose the cell in" in (
        faults[0].message
    )
    assert sum(check_files(path, skip_bad_rows=0.2).report["rows"].values()) == 21


def test_after_an_open_quote_and_another_line_end_nothing_can_be_read(tmp_path: Path) -> None:
    error = check_files(write(tmp_path, "a.csv", f'{TABLE}y,a\r"z\nz",b\nw,a\n'), skip_bad_rows=0.5).error
    assert error is not None and error.where == ("line 22",)


def test_line_ends_of_another_kind_do_not_change_the_meaning_of_quotes(tmp_path: Path) -> None:
    content = 'text\tlabel\n"y"\ta\r"z"\tb\n' + '"w"\ta\n' * 3
    values, _ = values_of(write(tmp_path, "a.tsv", content))
    assert [row["text"] for row in values] == ["y", "z", "w", "w", "w"]
