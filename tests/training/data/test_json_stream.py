"""JSON that does not have one object per line: arrays, objects over several lines, and one object with all rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.training.data import files, json_stream
from app.training.data.checking import check_files
from app.training.data.detection import detect
from app.training.data.files import EVERYTHING
from app.training.data.formats import READERS
from app.training.failures import BadData
from app.wire.training_options import Columns
from tests.training.data.tables import remarks_of, write

ROWS: list[dict[str, Any]] = [
    {"text": "a ] and a }, too", "label": "x", "n": 1},
    {"text": 'naïve 😀 "yes"', "label": "y", "n": None},
    {"text": "two\nlines", "label": "x", "n": 2.5},
]
BY_COLUMN = {name: [row[name] for row in ROWS] for name in ROWS[0]}
SPLIT = {"columns": list(ROWS[0]), "index": [0, 1, 2], "data": [list(row.values()) for row in ROWS]}
PANDAS = {name: {str(index): value for index, value in enumerate(column)} for name, column in BY_COLUMN.items()}


def values_of(path: Path) -> list[dict[str, Any]]:
    source = detect(path, path.name)
    assert READERS["jsonl"].header(source) == list(ROWS[0])
    return [record.values for record in READERS["jsonl"].records(source, EVERYTHING)]


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a"])
@pytest.mark.parametrize(
    ("content", "remark"),
    [
        (json.dumps(ROWS), "one JSON array"),
        (json.dumps(ROWS, indent=2), "one JSON array"),
        ("\ufeff \n[\n" + ",\n".join(map(json.dumps, ROWS)) + "\n]\n\n", "one JSON array"),
        ("\n".join(json.dumps(row, indent=2) for row in ROWS), "JSON objects that span several lines"),
        (json.dumps(BY_COLUMN), "one JSON object that contains all rows"),
        (json.dumps(BY_COLUMN, indent=2), "one JSON object that contains all rows"),
        (json.dumps(PANDAS), "one JSON object that contains all rows"),
        (json.dumps({str(n): row for n, row in enumerate(ROWS)}), "one JSON object that contains all rows"),
        (json.dumps({f"row {n}": row for n, row in enumerate(ROWS)}), "one JSON object that contains all rows"),
        (json.dumps({name: dict(zip("abc", BY_COLUMN[name], strict=True)) for name in BY_COLUMN}), "one JSON object"),
        (json.dumps({"schema": {"fields": []}, "data": ROWS}), "one JSON object that contains all rows"),
        (json.dumps(SPLIT), "one JSON object that contains all rows"),
        (json.dumps({"version": "1", "data": ROWS}, indent=1), "one JSON object that contains all rows"),
    ],
)
def test_every_layout_yields_the_same_rows(
    name: str, content: str, remark: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, name, content)
    for block in (7, 1 << 16):
        monkeypatch.setattr(files, "_BLOCK", block)
        monkeypatch.setattr(json_stream, "_READ", block)
        assert values_of(path) == ROWS
    source = detect(path, name)
    list(READERS["jsonl"].records(source, EVERYTHING))
    assert remark in remarks_of(source)["json"]


@pytest.mark.parametrize(
    "content",
    [
        '{"messages": [{"role": "user", "content": "x"}]}\n',
        '{"features": [[1, 2], [3, 4]], "label": "x"}\n',
        '{"text": "x", "label": ["a", "b"]}\n',
    ],
)
def test_a_single_record_stays_a_record(content: str, tmp_path: Path) -> None:
    source = detect(write(tmp_path, "a.jsonl", content), "a.jsonl")
    assert [record.values for record in READERS["jsonl"].records(source, EVERYTHING)] == [json.loads(content)]


def test_rows_without_column_names_are_refused_with_the_form_to_write(tmp_path: Path) -> None:
    rows = [[f"row {n}", "ab"[n % 2]] for n in range(20)]  # pandas' to_json with orient="values"
    error = check_files(write(tmp_path, "a.json", json.dumps(rows))).error
    assert error is not None and 'which pandas\' to_json does with orient="records"' in error.message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"text": "x"}, {"text": }, {"other": "y"}]', "line 1, column 26: not valid JSON"),
        ('[{"text": "x"},\n {"text": },\n  {"text": "y"}]', "line 2, column 11: not valid JSON"),
        ('[{"text": "x"},\n {"text": ', "line 2, column 11: not valid JSON"),
        ('[{"text": "x"},\n {"text": "y"}', "line 2, column 15: the array is not closed"),
        ('[{"text": "x"}]\n\n{"text": "y"}', "line 3, column 1: there is more text after the end of the array"),
        ('[{"text": "x"} {"te": "y"}] x', "line 1, column 29: there is more text"),
        ('[{"text": "x"}, {"text": ' + "[" * 99_999, "nested too deeply"),
    ],
)
def test_faults_are_reported_with_their_place(content: str, message: str, tmp_path: Path) -> None:
    source = detect(write(tmp_path, "a.json", content), "a.json")
    with pytest.raises(BadData) as caught:
        list(READERS["jsonl"].records(source, EVERYTHING))
    assert message in caught.value.message


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("is_array", [True, False])
@pytest.mark.parametrize("bad", [(1,), (0, 2), (3,), (1, 2)])
def test_malformed_elements_are_passed_over_and_reported(
    indent: int | None, is_array: bool, bad: tuple[int, ...], tmp_path: Path
) -> None:
    elements = [json.dumps({"text": f"x {n}", "more": {"a": {}}}, indent=indent or 0) for n in range(4)]
    elements = [text if n not in bad else text.replace('"text":', '"text"') for n, text in enumerate(elements)]
    content = "[\n" + ",\n".join(elements) + "\n]\n" if is_array else "\n".join(elements)
    source = detect(write(tmp_path, "a.json", content), "a.json")
    records = list(READERS["jsonl"].records(source, EVERYTHING))
    assert [record.values.get("text") for record in records] == [None if n in bad else f"x {n}" for n in range(4)]
    lines = elements[0].count("\n") + 1
    first = bad[0] * lines + 1 + is_array
    fault = records[bad[0]].fault
    assert fault is not None and fault.where[0] == f"line {first + 1}"
    assert f"not valid JSON: Expecting ':' delimiter; lines {first} to {first + lines - 1}" in fault.message


def test_malformed_elements_are_reported_with_the_faults_of_other_rows(tmp_path: Path) -> None:
    rows = ['{"text": "x", "label": null}', '{"text": }', '{"text": "y", "label": null}']
    for content, places in (
        ("[\n" + ",\n".join(rows) + "]", ["row 1", "line 3", "row 3"]),
        ("[" + ", ".join(rows) + "]", ["row 1", "line 1", "row 3"]),
    ):
        faults = check_files(write(tmp_path, "a.json", content)).faults
        assert [fault.where[0] for fault in faults] == places


def test_an_element_that_is_no_object_is_a_fault_of_its_row(tmp_path: Path) -> None:
    source = detect(write(tmp_path, "a.json", '[{"text": "x"}, 7, {"text": "y"}]'), "a.json")
    faults = [record.fault and record.fault.message for record in READERS["jsonl"].records(source, EVERYTHING)]
    assert faults == [None, "a.json, row 2: expected a JSON object, found a scalar value", None]


def test_an_element_has_a_maximum_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "RECORD_BYTES", 2000)
    monkeypatch.setattr(files, "_BLOCK", 100)
    monkeypatch.setattr(json_stream, "_READ", 100)
    path = write(tmp_path, "a.json", '[{"text": "x"}, {"text": "' + "x" * 9000 + '"}]')
    with pytest.raises(BadData, match="longer than the limit of 0 MiB"):
        list(READERS["jsonl"].records(detect(path, "a.json"), EVERYTHING))


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("[{rows}, null]", ["row 4", "expected a JSON object, found null"]),
        ("[{rows}, null, {rows}]", ["row 4", "expected a JSON object, found null"]),
        ("{row}\nnull\n{row}", ["line 6", "expected a JSON object, found null"]),
        ("{row}\n]\n{row}", ["line 6", "column 1", "not valid JSON"]),
    ],
)
def test_a_null_or_a_bracket_does_not_end_the_file(content: str, parts: list[str], tmp_path: Path) -> None:
    rows, row = ", ".join(map(json.dumps, ROWS)), json.dumps(ROWS[0], indent=1)
    path = write(tmp_path, "a.json", content.replace("{rows}", rows).replace("{row}", row))
    error = check_files(path, columns=Columns()).error
    assert error is not None and [part for part in parts if part not in error.message] == [], error.message


def test_keys_beside_the_rows_of_a_table_are_told(tmp_path: Path) -> None:
    source = detect(write(tmp_path, "a.json", json.dumps({"version": "1", "data": ROWS, "later": {"a": 1}})), "a.json")
    list(READERS["jsonl"].records(source, EVERYTHING))
    message = "a.json is read as one JSON object that contains all rows, under the key 'data'; its other keys are not "
    assert remarks_of(source)["json"] == f"{message}read: 'version', 'later'"


@pytest.mark.parametrize(
    "content",
    [
        json.dumps([["text", "label", "text"], ["x", "a", "y"]]),
        '["text", "label", "text"]\n["x", "a", "y"]\n',
        json.dumps({"columns": ["text", "label", "text"], "data": [["x", "a", "y"]]}),
    ],
)
def test_a_repeated_column_is_refused_as_in_a_csv_file(content: str, tmp_path: Path) -> None:
    error = check_files(write(tmp_path, "a.json", content)).error
    assert error is not None and "the column 'text' appears 2 times; rename all but one" in error.message


def test_keys_beside_the_split_form_of_pandas_are_told(tmp_path: Path) -> None:
    source = detect(write(tmp_path, "a.json", json.dumps(SPLIT | {"more": [["z", "a", 1]]})), "a.json")
    list(READERS["jsonl"].records(source, EVERYTHING))
    assert remarks_of(source)["json"].endswith("under the key 'data'; its other keys are not read: 'more'")


@pytest.mark.parametrize("at", [1, 20, 39])
@pytest.mark.parametrize(
    "damaged",
    [
        '{"text": "x", "label": }',
        '{"text": "it is "quoted" here", "label": "a"}',
        '{"text": "x" "label": "a"}',
        '{"text": "a }, {here", "label": nope}',
        '{"text": "x", "label": [{"y": 1}, {"z": 2]}',
        pytest.param("{" + " " * 9000 + "x}", id="blanks"),  # takes linear time
    ],
)
def test_a_malformed_object_in_one_line_is_one_bad_row(damaged: str, at: int, tmp_path: Path) -> None:
    rows = [json.dumps({"text": f"row {n}", "label": "ab"[n % 2]}) for n in range(40)]
    rows[at] = damaged
    for content in ("[" + ", ".join(rows) + "]", "[" + ",".join(rows) + "]\n"):
        path = write(tmp_path, "a.json", content)
        result = check_files(path, skip_bad_rows=0.1)
        if at == 39 and "{" in damaged[1:]:  # where the last object ends is uncertain
            assert result.error is not None
            continue
        assert result.error is None and result.report["dropped"]["rows"] == 1, result.error
        assert sum(result.report["rows"].values()) == 39
        [fault] = check_files(path).faults
        assert fault.where[0] == "line 1" and "this object is not read" in fault.message


def test_a_malformed_object_whose_end_is_uncertain_ends_the_reading(tmp_path: Path) -> None:
    good = json.dumps({"text": "x", "label": "a"})
    for content in (f'[{{"text": }}, {good}]', f'[{good}, {{"text": "x}}, {{"other": 1}}]', f'[{good}, {{"text": "x"'):
        error = check_files(write(tmp_path, "a.json", content), skip_bad_rows=1).error
        assert error is not None, content


@pytest.mark.parametrize("bad", [{0}, {0, 1, 2}, {3}, {0, 3, 4, 19}])
@pytest.mark.parametrize("damage", [('"label"', '"label'), ('{"text"', "{text")])
def test_malformed_objects_of_a_long_line_are_bad_rows_with_bounded_memory(
    damage: tuple[str, str], bad: set[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("_READ", 64), ("_AHEAD", 1000), ("_FAR", 1000)):
        monkeypatch.setattr(json_stream, name, value)
    monkeypatch.setattr(files, "RECORD_BYTES", 2000)  # the line is longer than a record may be
    monkeypatch.setattr(files, "_BLOCK", 64)
    rows = [json.dumps({"text": f"row {n} " + "x" * 200, "label": "ab"[n % 2]}) for n in range(20)]
    rows = [row.replace(*damage) if number in bad else row for number, row in enumerate(rows)]
    path = write(tmp_path, "a.json", f"[{','.join(rows)}]")
    records = list(READERS["jsonl"].records(detect(path, path.name), EVERYTHING))
    assert [number for number, record in enumerate(records) if record.fault] == sorted(bad) and len(records) == 20
    faults = [record.fault for record in records if record.fault]
    assert all("line 1, column" in fault.message and "this object is not read" in fault.message for fault in faults)
