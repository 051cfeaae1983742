"""Headers between the rows of a table, as when several files are joined."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.training.data.checking import check_files
from app.training.data.detection import detect
from app.training.data.files import EVERYTHING
from app.training.data.formats import READERS
from tests.training.data.tables import remarks_of, write, xlsx

ROWS = "x1,a\nx2,b\nx3,a\nx4,b\n"
TURNED = "a,y1\nb,y2\n"


def read_rows(path: Path) -> tuple[list[tuple[str, ...]], list[str], dict[str, str]]:
    """The values of the readable records, the faults of the others, and the remarks by kind."""
    source = detect(path, path.name)
    records = list(READERS[source.format].records(source, EVERYTHING))
    values = [tuple(map(str, record.values.values())) for record in records if record.fault is None]
    return values, [record.fault.message for record in records if record.fault is not None], remarks_of(source)


@pytest.mark.parametrize("header", ["Text,Label", "TEXT,LABEL", " text, Label ", "\ufeffText,label"])
def test_a_header_in_another_case_is_left_out(header: str, tmp_path: Path) -> None:
    values, faults, remarks = read_rows(write(tmp_path, "a.csv", f"text,label\n{ROWS}{header}\n{ROWS}"))
    assert len(values) == 8 and faults == []
    assert remarks["repeated_header"].startswith("a.csv, line 6: 1 row repeats the header")


def test_the_header_of_another_file_is_left_out_and_named(tmp_path: Path) -> None:
    content = f"text,category\n{ROWS}text,label\n{ROWS}text,label\n{ROWS}"
    values, faults, remarks = read_rows(write(tmp_path, "a.csv", content))
    assert len(values) == 12 and faults == []
    assert remarks["other_header"].startswith("a.csv, line 6: 2 rows are headers of another file ('text', 'label')")


@pytest.mark.parametrize("header", ["label,text", "Label,Text"])
def test_rows_after_a_header_in_another_order_are_faulty(header: str, tmp_path: Path) -> None:
    content = f"text,label\n{ROWS}{header}\n{TURNED}text,label\n{ROWS}"
    values, faults, _ = read_rows(write(tmp_path, "a.csv", content))
    assert len(values) == 8 and len(faults) == 3
    assert faults[0].startswith("a.csv, line 6: the row names the columns in another order (")
    assert faults[1].startswith("a.csv, line 7: the row follows line 6, which names the columns in another order (")
    error = check_files(tmp_path / "a.csv").error
    assert error is not None and "3 of 11 rows cannot be used" in error.message


def test_workbooks_may_have_headers_between_the_rows(tmp_path: Path) -> None:
    rows = [["text", "label"], ["x", "a"], ["Text", "Label"], ["y", "b"], ["label", "text"], ["a", "z"]]
    values, faults, remarks = read_rows(write(tmp_path, "a.xlsx", xlsx(rows)))
    assert values == [("x", "a"), ("y", "b")] and "repeated_header" in remarks
    assert [fault.split(":")[0] for fault in faults] == ["a.xlsx, row 5", "a.xlsx, row 6"]


@pytest.mark.parametrize(
    "content",
    [
        "text,label\ntext,topic words\nlabel,a\ntopic,b\n",
        "text,label\ntopic,score\nclass,label\ntarget,genre\n",
        "word,label\ntopic,score\nlabels,stars\n",
        "text\nx\ntext\nTEXT\n",
        "id,text,label\n1,text,label\n",
    ],
)
def test_words_that_are_usual_names_may_be_values(content: str, tmp_path: Path) -> None:
    values, faults, remarks = read_rows(write(tmp_path, "a.csv", content))
    assert len(values) == content.count("\n") - 1 and faults == []
    assert not {"repeated_header", "other_header"} & remarks.keys()


def test_the_header_of_another_file_with_moved_columns_is_warned_about(tmp_path: Path) -> None:
    values, faults, remarks = read_rows(write(tmp_path, "a.csv", f"text,label\n{ROWS}category,text\n{TURNED}"))
    assert ("category", "text") in values and faults == []
    message = "a.csv, line 6: 1 row looks like the header of another file with its columns in another order"
    assert remarks["moved_header"].startswith(message)
