"""Plain tables of numbers: each row is an input of one step. The labels of numeric inputs may have any usual name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.training.data.checking import check_files
from app.training.failures import BadData
from app.wire.training_options import Columns
from tests.training.data.tables import read, remarks_of, write

HOUSES = "area,rooms,year,price\n" + "".join(f"{50 + n},{n % 5},{1950 + n},{900 * n + 7.5}\n" for n in range(40))
FLOWERS = "Id,length,width,class\n" + "".join(f"{n},{n / 7:.2f},{n / 9:.2f},{'ab'[n % 2]}\n" for n in range(1, 41))


def test_each_row_of_a_plain_table_is_an_input_of_one_step(tmp_path: Path) -> None:
    layout, examples = read(write(tmp_path, "a.csv", HOUSES), value="price")
    assert (layout.task, layout.shape, layout.steps) == ("regression", "row", ("area", "rooms", "year"))
    assert examples[1].features_TF is not None and examples[1].features_TF.tolist() == [[51, 1, 1951]]
    assert examples[1].value == 907.5 and layout.roles == {"value": "price", "features": ["area", "rooms", "year"]}
    message = remarks_of(layout.source)["row_features"]
    assert message.endswith(
        "a.csv is read as a table in which each row is an input of one step with the features 'area', 'rooms', 'year'"
    )


@pytest.mark.parametrize("name", ["class", "label", "Target", "species"])
def test_the_label_may_have_a_usual_name_or_be_named(name: str, tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", FLOWERS.replace("class", name))
    named = {"label": name} if name == "species" else {}
    layout, examples = read(path, **named)
    assert (layout.task, layout.shape, layout.steps) == ("classification", "row", ("length", "width"))
    assert examples[0].labels == ("b",)
    assert "not used, because it numbers the rows: 'Id'" in remarks_of(layout.source)["row_features"]


def test_the_features_can_be_listed(tmp_path: Path) -> None:
    listed = read(write(tmp_path, "a.csv", HOUSES), value="price", features="area,year")[0]
    assert (listed.steps, listed.ignored) == (("area", "year"), ("rooms",))
    own = read(write(tmp_path, "b.csv", FLOWERS), features="Id,length", label="class")[0]
    assert own.steps == ("Id", "length")
    with pytest.raises(BadData, match="has no column 'heat'"):
        read(write(tmp_path, "a.csv", HOUSES), value="price", features="area,heat")


def test_decimal_commas_and_rows_that_cannot_be_used(tmp_path: Path) -> None:
    rows = "".join(f"{n},5;{n + 1},25;{3 * n},75\n" for n in range(40))
    result = check_files(write(tmp_path, "a.csv", f"a;b;c\n{rows}"), columns=Columns(value="c"))
    assert result.error is None and sum(result.report["rows"].values()) == 40
    gaps = check_files(write(tmp_path, "b.csv", f"a;b;c\n{rows}1,5;;2\n"), columns=Columns(value="c"))
    assert [fault.where for fault in gaps.faults] == [("line 42", "column 'b'")]


LINES = HOUSES.splitlines()


@pytest.mark.parametrize(
    ("lines", "places"),
    [
        ([LINES[0], "m2,count,y,EUR", *LINES[1:]], [("line 2", "column 'area'")]),
        ([*LINES, "12,x,1950,3", "n/a,2,1950,3"], [("line 42", "column 'rooms'"), ("line 43", "column 'area'")]),
        ([LINES[0], *(line.replace(",", " m2,", 1) for line in LINES[1:])], [("line 2", "column 'area'")]),
        ([*LINES, "Total of the city,,,all"], [("line 42", "column 'area'")]),
    ],
)
def test_a_cell_that_is_not_a_number_is_reported_with_its_line(
    lines: list[str], places: list[tuple[str, str]], tmp_path: Path
) -> None:
    result = check_files(write(tmp_path, "a.csv", "\n".join(lines)), columns=Columns(value="price"))
    assert [fault.where for fault in result.faults][: len(places)] == places
    assert "is not a number; write" in result.faults[0].message
    assert result.report["remarks"][0]["message"].endswith("the features 'area', 'rooms', 'year'")


def test_a_row_number_column_is_recognised_beside_a_row_of_units(tmp_path: Path) -> None:
    lines = [f"{n or 'id'},{line}" for n, line in enumerate(LINES)]
    path = write(tmp_path, "a.csv", "\n".join([lines[0], ",m2,count,y,EUR", *lines[1:]]))
    result = check_files(path, columns=Columns(value="price"), skip_bad_rows=0.1)
    assert result.error is None and sum(result.report["rows"].values()) == 40
    assert result.report["columns"]["features"] == ["area", "rooms", "year"]


@pytest.mark.parametrize(
    ("more", "parts"),
    [
        ("city", ["'city'", "write their values as numbers", "set columns.features to their names, such as 'area,"]),
        ("time", ["the column 'time', so its rows may be steps of series", "set columns.series and columns.time"]),
    ],
)
def test_columns_that_may_be_no_features_are_asked_about(more: str, parts: list[str], tmp_path: Path) -> None:
    rows = HOUSES.splitlines()
    cells = [more, *(("Rome", "Oslo")[n % 2] if more == "city" else str(n) for n in range(40))]
    path = write(tmp_path, "a.csv", "\n".join(f"{cell},{row}" for cell, row in zip(cells, rows, strict=True)))
    with pytest.raises(BadData) as caught:
        read(path, value="price")
    assert [part for part in parts if part not in caught.value.message] == [], caught.value.message
    assert caught.value.param == "columns.features" and "no column 'text'" not in caught.value.message
    layout = read(path, value="price", features=f"area,{'time' if more == 'time' else 'rooms'}")[0]
    assert layout.shape == "row" and layout.roles.keys() == {"value", "features"}


def test_texts_and_tables_without_a_target_are_not_taken_for_features(tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"no column 'text'.*each row is an input with these numbers; if each row is a"):
        read(write(tmp_path, "a.csv", HOUSES))
    reviews = "review,stars\n" + "".join(f"this is review number {n},{n % 5}\n" for n in range(40))
    with pytest.raises(BadData, match=r"set columns.text to the name of the column .* such as 'review'"):
        read(write(tmp_path, "b.csv", reviews), value="stars")


SEQUENCES = [{"features": [[n % 7, n], [1, 2]], "class": "ab"[n % 2], "id": n} for n in range(40)]


def test_the_labels_of_sequences_may_have_a_usual_name(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, SEQUENCES)))
    layout, examples = read(path)
    assert (layout.task, layout.names["label"], examples[1].labels) == ("classification", "class", ("b",))
    assert remarks_of(layout.source)["usual_name"].endswith("'class' is used for the labels")
    table = "series,time,heat,class\n" + "".join(f"{n // 4},{n % 4},{n * 0.5},{'ab'[n // 4 % 2]}\n" for n in range(80))
    series = read(write(tmp_path, "a.csv", table))[0]
    assert (series.names["label"], series.steps) == ("class", ("heat",))


def test_values_of_sequences_are_named_in_the_advice(tmp_path: Path) -> None:
    rows = [{"features": row["features"], "target": n * 0.37} for n, row in enumerate(SEQUENCES)]
    with pytest.raises(BadData, match=r"columns.value to the column of values to predict, such as 'target'"):
        read(write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows))))


@pytest.mark.parametrize("steps", [[[1, 2], [3, 4]], [1, 2, 3]])
def test_sequences_with_another_name_are_recognised(steps: list[object], tmp_path: Path) -> None:
    rows = [{"steps": steps, "class": "ab"[n % 2]} for n in range(40)]
    path = write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)))
    with pytest.raises(BadData) as caught:
        read(path)
    assert caught.value.message.endswith(
        "'steps' contains numeric sequences: set columns.features to 'steps', and columns.label to 'class'"
    )
    assert len(read(path, features="steps", label="class")[1]) == 40
