"""Rows of every shape are read as examples."""

from __future__ import annotations

import csv
import io
import json
import math
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.training.data.example import Turn
from app.training.failures import BadData
from tests.training.data.scans import scan
from tests.training.data.tables import read, write


def test_completions_are_learned_and_prompts_are_not(tmp_path: Path) -> None:
    layout, examples = read(
        write(tmp_path, "b.jsonl", '{"prompt": "", "completion": "b"}\n{"prompt": "a", "completion": ""}')
    )
    assert layout.task == "generation"
    assert examples[0].turns == (Turn("", False, False), Turn("b", True, True))
    assert [example.usable for example in examples] == [True, False]


def test_a_conversation_as_prompt_is_told_where_to_be_written(tmp_path: Path) -> None:
    row = {"prompt": [{"role": "user", "content": "x"}], "completion": [{"role": "assistant", "content": "y"}]}
    message = "expected text, found a list; write a conversation as one list of messages, in a column named messages"
    with pytest.raises(BadData, match=f"line 1, column 'prompt': {message}"):
        read(write(tmp_path, "a.jsonl", f"{json.dumps(row)}\n" * 2))


def test_features_are_read_from_json_and_parquet(tmp_path: Path) -> None:
    rows = [{"features": [[1.0, 2.0], [3.0, 4.0]], "value": 0.5}, {"features": [[5.0, 6.0]], "value": 1.5}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)))
    for name in ("a.parquet", "a.jsonl"):
        layout, examples = read(tmp_path / name)
        assert layout.task == "regression"
        assert [(e.features_TF.tolist(), e.value) for e in examples if e.features_TF is not None] == [
            ([[1.0, 2.0], [3.0, 4.0]], 0.5),
            ([[5.0, 6.0]], 1.5),
        ]


def test_plain_lists_of_numbers_are_told_to_be_steps(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = []
    for n in range(3):
        for number, cell in enumerate(([1, n], [[1], [n]], f"[3, {n}]", f" [ [3], [{n}]]")):
            rows.append({"features": cell, "label": "ab"[number % 2]})
    _, remarks = scan(write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows))))
    assert remarks["plain_features"].message == (
        "a.jsonl, line 1: the features of 6 rows are plain lists of numbers, and each number is read as one step with "
        "one feature; write a single step with several features as [[1, 2]]"
    )


@pytest.mark.parametrize(
    ("row", "key", "task"),
    [
        ({"text": "x", "label": "y"}, "split", None),
        ({"text": "x", "label": "y"}, "text_pair", None),
        ({"text": "x"}, "label", None),
        ({"text": "x"}, "value", None),
        ({"text": "x", "label": "y"}, "value", ""),
        ({"text": "x"}, "label", "generation"),
        ({"text": "x"}, "text_pair", "generation"),
        ({"prompt": "x", "completion": "y"}, "split", None),
        ({"series": "x", "height": 1, "label": "y"}, "time", None),
    ],
)
def test_a_key_that_first_appears_late_is_reported(
    row: dict[str, Any], key: str, task: str | None, tmp_path: Path
) -> None:
    """A key is not reported if it would have no role in the first records either."""
    rows = [*[row] * 120, row | {key: 1}]
    path = write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)))
    if task is not None:
        read(path, task or None)
        return
    message = f"a.jsonl, line 121, column '{key}': the first records do not have the key '{key}'; add it to every"
    with pytest.raises(BadData, match=message):
        read(path)


def test_texts_are_read_as_a_csv_file_holds_them(tmp_path: Path) -> None:
    values: list[Any] = ["x", None, 404, 2.5, True, "", math.nan]
    path = write(tmp_path, "a.jsonl", "\n".join(json.dumps({"text": value, "label": "y"}) for value in values))
    _, examples = read(path)
    assert [example.text for example in examples] == ["x", "", "404", "2.5", "true", "", ""]
    assert [example.usable for example in examples] == [True, False, True, True, True, False, False]
    assert [number for number, example in enumerate(examples) if example.notes == ("as_text",)] == [2, 3, 4]
    _, examples = read(write(tmp_path, "b.jsonl", '{"prompt": null, "completion": 7}\n{"prompt": "x"}'))
    assert [example.texts for example in examples] == [("", "7"), ("x", "")]


def test_emptied_rows_are_left_out_and_counted(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "text,label\n" + "".join(f"row {n},{'ab'[n % 2]}\n" for n in range(9)) + ",\n , \n")
    assert len(scan(path)[0].splits_N) == 9
    rows = [{"text": f"row {n}", "label": "ab"[n % 2]} for n in range(9)] + [
        {"text": None, "label": None, "id": 3},
        {"id": 4},
    ]
    assert scan(write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows))))[0].empty == 2
    steps = "series,height,label\n" + "".join(f"{'abc'[n % 3]},{n},{'xyx'[n % 3]}\n" for n in range(9)) + ",,\n"
    assert len(list(read(write(tmp_path, "b.csv", steps))[1])) == 3


def test_each_kind_of_row_that_is_left_out_is_told_with_its_lines(tmp_path: Path) -> None:
    rows = [*({"text": f"row {n}", "label": "ab"[n % 2]} for n in range(9)), *[{"text": " ", "label": "a"}] * 7, {}]
    result, remarks = scan(write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows))))
    assert result.empty == 8
    assert remarks["empty"].message == (
        "a.jsonl, line 10: 7 rows without a text are left out (line 10, line 11, line 12, line 13, line 14, …)"
    )
    assert remarks["empty_rows"].message == (
        "a.jsonl, line 17: 1 row is left out, because it is empty in all columns that are used"
    )
    rows = [{"prompt": f"a {n}", "completion": f"b {n}" if n % 5 else ""} for n in range(10)]
    _, remarks = scan(write(tmp_path, "b.jsonl", "\n".join(map(json.dumps, rows))))
    assert (
        remarks["no_completion"].message == "b.jsonl, line 1: 2 rows without a completion are left out (line 1, line 6)"
    )


def test_a_file_of_empty_rows_says_why_it_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"no usable rows: 2 rows without a text are left out \(line 2, line 3\)"):
        scan(write(tmp_path, "a.csv", "text,label\n ,a\n ,b\n"))


def test_blank_parts_of_an_input_and_placeholders_are_told(tmp_path: Path) -> None:
    rows = [{"text": f"row {n}", "text_pair": f"pair {n}" if n % 4 else None, "label": "ab"[n % 2]} for n in range(12)]
    rows[5] = {"text": "NaN", "text_pair": "x", "label": "a"}
    rows[7] = {"text": "row", "text_pair": "#N/A", "label": "b"}
    _, remarks = scan(write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows))))
    assert (remarks["empty_pairs"].where, remarks["empty_pairs"].count) == ("line 1", 3)
    assert (remarks["missing_texts"].where, remarks["missing_texts"].count) == ("line 6", 2)
    assert "such as 'NaN', '#N/A'" in remarks["missing_texts"].message
    rows = [{"prompt": f"a {n}" if n % 4 else (None, "")[n % 8 // 4], "completion": f"b {n}"} for n in range(12)]
    _, remarks = scan(write(tmp_path, "b.jsonl", "\n".join(map(json.dumps, rows))))
    assert (remarks["empty_prompts"].where, remarks["empty_prompts"].count) == ("line 1", 2)


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
@pytest.mark.parametrize("text", ["two\nlines {n}", "one line {n}\n", "two\r\nlines {n}"])
def test_line_ends_in_texts_are_told_once(text: str, name: str, tmp_path: Path) -> None:
    rows = [{"text": text.format(n=n) if n % 4 else f"plain {n}", "label": "ab"[n % 2]} for n in range(40)]
    out = io.StringIO()
    writer = csv.DictWriter(out, ["text", "label"])
    writer.writeheader()
    writer.writerows(rows)
    content = out.getvalue() if name == "a.csv" else "\n".join(map(json.dumps, rows))
    _, remarks = scan(write(tmp_path, name, content))
    assert (remarks["line_ends_in_texts"].count, remarks["line_ends_in_texts"].level) == (30, "info")
    generation = scan(write(tmp_path, name, content), "generation")[1]
    assert "line_ends_in_texts" not in generation


def test_nul_characters_in_texts_are_told(tmp_path: Path) -> None:
    rows = "".join(f"row {n}{chr(0) * (n % 3 == 0)},{'ab'[n % 2]}\n" for n in range(12))
    _, remarks = scan(write(tmp_path, "a.csv", f"text,label\n{rows}"))
    assert (remarks["nul_characters"].where, remarks["nul_characters"].count) == ("line 2", 4)
    assert remarks["nul_characters"].level == "warn"


def test_a_full_column_is_named_where_most_rows_have_no_text(tmp_path: Path) -> None:
    def table(full: int, notes: int) -> str:
        cells = (
            (f"row {n}" * (n < full), f"long text {n}", f"a note {n} " * (n < notes), "ab"[n % 2]) for n in range(40)
        )
        return "text,body,notes,label\n" + "".join(f"{','.join(row)}\n" for row in cells)

    _, remarks = scan(write(tmp_path, "a.csv", table(15, 12)))
    assert remarks["empty"].message.endswith(
        "; most rows have no text in the column 'text', but the column 'body' contains texts: set columns.text to its "
        "name if it contains the input"
    )
    with pytest.raises(BadData, match=r"no usable rows: 40 rows .* but the column 'body' contains texts"):
        scan(write(tmp_path, "b.csv", table(0, 12)))
    _, remarks = scan(write(tmp_path, "c.csv", table(30, 12)))
    assert "body" not in remarks["empty"].message


def test_a_second_text_is_not_used_for_generation(tmp_path: Path) -> None:
    rows = [{"text": f"row {n}", "text_pair": "a long second text"} for n in range(12)]
    path = write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)))
    _, examples = read(path, "generation")
    assert examples[0].texts == ("row 0",)


def test_keys_that_first_appear_late_and_are_not_used_are_told(tmp_path: Path) -> None:
    rows = [{"text": f"row {n}", "label": "ab"[n % 2]} for n in range(120)]
    rows += [row | {"note": 1, "id": n} for n, row in enumerate(rows[:3])]
    _, remarks = scan(write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows))))
    assert remarks["late_keys"].message == (
        "a.jsonl, line 121: 3 records have keys that the first records do not have; these keys are not used: "
        "'note', 'id'"
    )


def test_rows_without_a_split_are_told(tmp_path: Path) -> None:
    rows = [f"row {n},{'ab'[n % 2]},{('dev', 'training', '', 'eval')[n // 3]}" for n in range(12)]
    result, remarks = scan(write(tmp_path, "a.csv", "text,label,split\n" + "\n".join(rows)))
    assert result.splits_N.tolist() == [1] * 3 + [0] * 6 + [1] * 3
    assert (remarks["no_split"].where, remarks["no_split"].count) == ("line 8", 3)


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([True, False], ["false", "true"]),
        ([1, 0], ["0", "1"]),
        ([0.5, 2.0], ["0.5", "2"]),
        ([date(2026, 1, 2), date(2026, 1, 1)], ["2026-01-01", "2026-01-02"]),
        ([Decimal("1.50"), Decimal("10.00")], ["1.5", "10"]),
    ],
)
def test_labels_of_every_type_are_read_from_every_format(values: list[Any], labels: list[str], tmp_path: Path) -> None:
    rows = [{"text": f"row {n}", "label": values[n % 2]} for n in range(12)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    plain = [
        row | {"label": row["label"] if isinstance(row["label"], (int, float)) else str(row["label"])} for row in rows
    ]
    write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, plain)))
    write(tmp_path, "a.csv", "text,label\n" + "".join(f"row {n},{str(values[n % 2]).lower()}\n" for n in range(12)))
    assert scan(tmp_path / "a.parquet")[0].labels == labels
    for name in ("a.jsonl", "a.csv"):
        read_labels = scan(tmp_path / name)[0].labels
        assert read_labels == labels, name


def test_an_object_of_zeros_and_ones_is_read_as_labels_and_told(tmp_path: Path) -> None:
    rows = [{"text": f"row {n}", "label": {"POS": n % 2, "NEG": 1 - n % 2}} for n in range(24)]
    path = write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)))
    for task in (None, "classification"):
        _, examples = read(path, task)
        assert [example.target.labels for example in examples[:2]] == [("NEG",), ("POS",)]
        assert {note for example in examples for note in example.notes} == {"one_hot_objects"}
    write(tmp_path, "a.jsonl", '{"text": "x", "label": {"POS": 1, "NEG": 1}}\n')
    with pytest.raises(BadData, match="exactly one of the keys 'POS', 'NEG' must be 1, but 2 are"):
        read(path, "classification")


@pytest.mark.parametrize(("other", "left"), [("accept", 2), ("forty-two", 4)])
def test_rows_that_an_annotator_rejected_are_left_out(other: str, left: int, tmp_path: Path) -> None:
    answers = ["accept", "reject", "ignore", other]
    rows = [{"text": f"x{n}", "label": "a", "answer": answer} for n, answer in enumerate(answers)]
    _, examples = read(write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows))))
    assert sum(example.usable for example in examples) == left
