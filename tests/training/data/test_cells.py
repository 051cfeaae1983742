"""Cells as labels: the accepted forms, and the errors for all others."""

from __future__ import annotations

import math
import re
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from app.training.data.cells import (
    CellError,
    is_amount,
    to_input_text,
    to_label,
    to_mark,
    to_matrix,
    to_number,
    to_split,
)
from app.training.data.example import TEST, TRAIN, UNASSIGNED, VALIDATION
from app.training.failures import BadData
from tests.training.data.tables import assert_fault, read, write

LONG = "1" + "0" * 400


def test_labels_of_several_kinds(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "text,label\nx,b|a\ny,\nz,c\n")
    assert [e.labels for e in read(path, "multilabel")[1]] == [("a", "b"), (), ("c",)]
    listed = 'text,label\nx,"[""b|c"", ""a""]"\ny,[]\nz," [""c""]"\n'
    assert [e.labels for e in read(write(tmp_path, "b.csv", listed), "multilabel")[1]] == [("a", "b|c"), (), ("c",)]
    assert read(write(tmp_path, "c.csv", "text,label\nx,[a]\n"))[1][0].labels == ("[a]",)  # one label, taken literally
    path = write(tmp_path, "a.jsonl", '{"text": "x", "label": ["b", "a"]}\n{"text": "y", "label": []}\n')
    assert [e.labels for e in read(path, "multilabel")[1]] == [("a", "b"), ()]
    path = write(tmp_path, "b.jsonl", '{"text": "x", "label": 1}\n{"text": "y", "label": 2.0}\n')
    assert [e.labels for e in read(path)[1]] == [("1",), ("2",)]


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (
            "[a]",
            r"a cell that starts with \[ must be a JSON list .*; error at character 2: not valid JSON: Expecting",
        ),
        ('"[""a"", 1]"', "not all elements of this list are strings"),
        ("[" * 9999, "nested too deeply"),
    ],
)
def test_a_malformed_list_of_labels_is_reported(cell: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(BadData, match=rf"line 2, column 'label': .*{reason}"):
        read(write(tmp_path, "a.csv", f"text,label\nx,{cell}\n"), "multilabel")


@pytest.mark.parametrize(
    ("name", "content", "parts"),
    [
        ("a.csv", "text,label\nx,\n", ["line 2", "'label'", "empty"]),
        ("a.csv", "text,label,split\nx,y,held\n", ["line 2", "'split'", "'held'", "validation"]),
        ("a.csv", "text,value\nx,1\ny,much\n", ["line 3", "'value'", "'much' is not a number"]),
        ("a.csv", "text,value\nx,nan\n", ["line 2", "not a finite number"]),
        ("a.jsonl", '{"text": [3], "label": "y"}\n', ["line 1", "'text'", "expected text, found a list"]),
        ("a.jsonl", '{"text": "\\ud800", "label": "y"}\n', ["line 1", "'text'", "surrogate"]),
        ("a.jsonl", '{"text": "x", "label": {"y": 1}}\n', ["line 1", "'label'", "expected a label, found an object"]),
        ("a.jsonl", '{"text": "x", "label": null}\n', ["line 1", "'label'", "the label is empty"]),
        ("a.jsonl", '{"text": "x", "label": -Infinity}\n', ["line 1", "'label'", "-inf is not a label"]),
        ("a.jsonl", '{"features": [[1, 2], [3]], "label": "y"}\n', ["line 1", "'features'", "differ in length"]),
        ("a.jsonl", '{"features": [[1, NaN]], "label": "y"}\n', ["line 1", "'features'", "step 1, feature 2"]),
        (
            "a.jsonl",
            '{"features": [[1], ["x"]], "label": "y"}\n',
            ["line 1", "step 2, feature 1", "'x' is not a number"],
        ),
        ("a.jsonl", '{"features": [[[1], [2]]], "label": "y"}\n', ["line 1", "'features'", "step 1, feature 1", "[1]"]),
        ("a.jsonl", f'{{"features": [[1], [{LONG}]], "label": "y"}}\n', ["line 1", "'features'", "step 2, feature 1"]),
        ("a.jsonl", '{"features": [[1e300]], "label": "y"}\n', ["line 1", "'features'", "1e+300"]),
        ("a.jsonl", f'{{"text": "x", "value": {LONG}}}\n', ["line 1", "'value'", "not a finite number"]),
        ("a.csv", f"features,label\n{'[' * 99_999},y\n", ["line 2", "'features'", "nested too deeply"]),
        ("a.csv", f"features,label\n[{'9' * 5000}],y\n", ["line 2", "'features'", "5,000 digits"]),
    ],
)
def test_faults_are_reported_with_their_place(
    name: str, content: str | bytes, parts: list[str], tmp_path: Path
) -> None:
    assert_fault(write(tmp_path, name, content), *parts)


def test_several_labels_in_a_row_need_the_task_multilabel(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", '{"text": "x", "label": ["y"]}\n')
    with pytest.raises(
        BadData, match=r"line 1, column 'label': expected a label, found a list; .* set task to multilabel"
    ):
        read(path, "classification")


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (True, "true"),
        (False, "false"),
        (2.0, "2"),
        (-1.5, "-1.5"),
        (Decimal("2.50"), "2.5"),
        (Decimal("3.00"), "3"),
        (Decimal("1E+3"), "1000"),
        (date(2026, 1, 31), "2026-01-31"),
        (datetime(2026, 1, 31), "2026-01-31"),
        (datetime(2026, 1, 31, 9, 5), "2026-01-31 09:05:00"),
    ],
)
def test_scalars_are_labels_as_they_are_written(value: object, label: str) -> None:
    assert to_label(value) == label
    assert to_input_text(value) == (label if not isinstance(value, float) else str(value))


@pytest.mark.parametrize("nothing", [None, "", "  ", math.nan])
def test_nothing_is_an_empty_text_and_no_split(nothing: object) -> None:
    assert to_input_text(nothing).strip() == "" and to_split(nothing) == UNASSIGNED


@pytest.mark.parametrize(
    ("names", "code"),
    [
        (("train", "Training"), TRAIN),
        (("dev", "EVAL", "valid", "val", "validation", "evaluation", "development"), VALIDATION),
        (("test", " testing "), TEST),
    ],
)
def test_usual_names_of_splits(names: tuple[str, ...], code: int) -> None:
    assert {to_split(name) for name in names} == {code}


@pytest.mark.parametrize(
    ("cell", "bare"),
    [
        ("$29.00", "29.00"),
        ("1,100.50", "1100.50"),
        ("12,345", "12345"),
        ("-5%", "-5"),
        ("1 000 €", "1000"),
        ("£3", "3"),
        ("€5,00", "5.00"),
        ("5,00 €", "5.00"),
        ("EUR 1.422,54", "1422.54"),
        ("12 kg", "12"),
        ("7,5 %", "7.5"),
        ("120m²", "120"),
        ("120 m2", "120"),
        ("5,- €", "5"),
    ],
)
def test_a_number_with_signs_is_told_how_to_be_written(cell: str, bare: str) -> None:
    with pytest.raises(CellError, match=rf"is not a number; write numbers without .*such as {re.escape(bare)}$"):
        to_number(cell)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [("266,70", True), ("€5", True), ("1.422,54", True), ("C12", False), ("x", False), ("1,2,3", False)],
)
def test_amounts_are_numbers_in_any_notation(text: str, is_one: bool) -> None:
    assert is_amount(text) is is_one


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ([], "; found an empty list"), ("[]", "; found an empty list"), ([[]], "; the steps are empty lists"),
        ([[1], []], "; the steps differ in length"), ([[1], 2], "; some steps are lists and others are not"),
    ],
)  # fmt: skip
def test_an_empty_sequence_is_named(cell: Any, reason: str) -> None:
    with pytest.raises(CellError, match=re.escape(reason) + "$"):
        to_matrix(cell)


def test_the_accepted_marks_of_a_label_are_listed() -> None:
    with pytest.raises(CellError, match=r"^expected 0 or 1 \(also accepted: .*no and yes.*x or .*\), found 'ja'$"):
        to_mark("ja")


@pytest.mark.parametrize("cell", ["much", "$", "1,5", "1.2.3", "$x", "5 apples", "1_000", None, [1]])
def test_other_values_are_only_no_numbers(cell: Any) -> None:
    with pytest.raises(CellError, match=r"is not a number$"):
        to_number(cell)
