"""Cells as labels: several forms, and what is wrong with the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.training.failures import BadData
from tests.training.data.tables import read, write


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
