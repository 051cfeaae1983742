"""Cells as labels: several forms, and what is wrong with the others."""

from __future__ import annotations

from pathlib import Path

import pytest

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
            r"a cell that starts with \[ must be a JSON list .*; character 2 of this text: not JSON: Expecting",
        ),
        ('"[""a"", 1]"', "not all elements of this list are texts"),
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
        ("a.csv", "text,label,split\nx,y,dev\n", ["line 2", "'split'", "'dev'", "validation"]),
        ("a.csv", "text,value\nx,1\ny,much\n", ["line 3", "'value'", "'much' is not a number"]),
        ("a.csv", "text,value\nx,nan\n", ["line 2", "not a finite number"]),
        ("a.jsonl", '{"text": 3, "label": "y"}\n', ["line 1", "'text'", "the number 3 where a text"]),
        ("a.jsonl", '{"text": "\\ud800", "label": "y"}\n', ["line 1", "'text'", "surrogate"]),
        ("a.jsonl", '{"text": "x", "label": ["y"]}\n', ["line 1", "'label'", "multilabel"]),
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
