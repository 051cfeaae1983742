"""The columns and rows that are read from tables of texts without labels."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.training.data.faults import ignore
from app.training.data.unlabelled import check_texts, open_texts, read_texts, text_layout
from app.training.failures import BadData
from app.wire.training_options import Columns
from tests.training.data.tables import remarks_of, write
from tests.training.data.tables import xlsx as workbook


def parquet(**columns: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


def repeated_parquet() -> bytes:
    out = io.BytesIO()
    names = ["note", "text", "note"]
    pq.write_table(pa.Table.from_arrays([pa.array(["first"]), pa.array(["x"]), pa.array(["second"])], names=names), out)
    return out.getvalue()


REPEATED = {
    "a.csv": b"note,text,note\nfirst,x,second\n",
    "a.xlsx": workbook([["note", "text", "note"], ["first", "x", "second"]]),
    "a.parquet": repeated_parquet(),
}


@pytest.mark.parametrize("name", REPEATED)
def test_the_first_of_the_repeated_columns_is_kept(name: str, tmp_path: Path) -> None:
    source = open_texts(write(tmp_path, name, REPEATED[name]))
    layout = text_layout(source, Columns())
    assert [row.texts for row in read_texts(layout)] == [{"text": "x"}] and not remarks_of(source)
    [row] = read_texts(layout, whole=True)
    assert row.values == {"note": "first", "text": "x"} and list(row.values) == ["note", "text"]
    assert "the column 'note' appears 2 times; only the first is kept" in remarks_of(source)["repeated_column note"]


def test_values_that_cannot_be_read_matter_only_where_they_are_needed(tmp_path: Path) -> None:
    times = pa.array([0, 1], pa.timestamp("ns"))
    path = write(tmp_path, "a.parquet", parquet(text=["x", "y"], number=[1, 2], time=times))
    rows = list(read_texts(text_layout(open_texts(path), Columns()), whole=True))
    assert [row.values["number"] for row in rows] == [1, 2]
    assert rows[1].values["time"] == "1970-01-01 00:00:00.000000001"
    with pytest.raises(BadData, match="row 2, column 'time': the value cannot be read"):
        list(read_texts(text_layout(open_texts(path), Columns(text="time")), whole=True))


def test_a_second_text_that_first_appears_late_is_a_fault(tmp_path: Path) -> None:
    lines = '{"text": "a", "split": "?"}\n' * 100 + '{"text": "b", "text_pair": "c"}\n{"text": {"x": 1}}\n'
    layout = text_layout(open_texts(write(tmp_path, "a.jsonl", lines)), Columns())
    faults = check_texts(layout, 0.02)
    assert [fault.where for fault in faults.first] == [
        ("line 101", "column 'text_pair'"), ("line 102", "column 'text'"),
    ]  # fmt: skip
    assert len(list(read_texts(layout, ignore))) == 100
    with pytest.raises(BadData, match="2 of 102 rows cannot be used"):
        check_texts(layout, 0.01)


def test_short_rows_are_read_if_they_have_the_texts(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "text,id\nx,1\ny\n")
    rows = list(read_texts(text_layout(open_texts(path), Columns()), whole=True))
    assert [row.values for row in rows] == [{"text": "x", "id": "1"}, {"text": "y", "id": ""}]


@pytest.mark.parametrize(
    "header", ["question,context,answer", "prompt,chosen,rejected", "prompt,completion,id", "a,b,c"]
)
def test_a_table_without_a_text_column_brings_advice_for_this_command(header: str, tmp_path: Path) -> None:
    rows = "".join(f"a first long text {n},a second much longer text {n},{n}\n" for n in range(20))
    source = open_texts(write(tmp_path, "a.csv", f"{header}\n{rows}"))
    second = header.split(",")[1]
    with pytest.raises(
        BadData, match=f"set columns.text to the name of the column that contains the texts, such as '{second}'"
    ):
        text_layout(source, Columns())
    assert text_layout(source, Columns(text=second)).names == {"text": second}
