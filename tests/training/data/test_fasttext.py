"""fastText's lines are read as records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.training.data import fasttext
from app.training.data.files import Source
from tests.training.data.scans import scan
from tests.training.data.tables import write


@pytest.mark.parametrize(
    ("line", "label", "text"),
    [
        ("__label__spam Win now", "spam", "Win now"),
        ("__label__a __label__b two, of them", ["a", "b"], "two, of them"),
        ("__label__a, __label__b two", ["a", "b"], "two"),
        ("__label__a_b-c\ttabbed", "a_b-c", "tabbed"),
        ("no label", None, "no label"),
        ("__label__only", "only", ""),
        ("__label__a see __label__b", "a", "see __label__b"),
        ("__label__", None, ""),
    ],
)
def test_labels_come_before_the_text(line: str, label: Any, text: str, tmp_path: Path) -> None:
    source = Source(write(tmp_path, "a.txt", f"\n{line}\r\n"), "a.txt", "fasttext", False)
    [record] = fasttext.records(source)
    assert (record.where, record.values) == ("line 2", {"label": label, "text": text})
    assert fasttext.header(source) == ["label", "text"]


def test_labels_within_or_after_a_text_are_told(tmp_path: Path) -> None:
    lines = [f"__label__{'ab'[n % 2]} text {n}" for n in range(12)]
    path = write(tmp_path, "a.txt", "\n".join([*lines, "__label__a see __label__b", "__label__b see __label__a"]))
    _, remarks = scan(path)
    assert remarks["labels_in_text"].message == (
        "a.txt, line 13: 2 lines have __label__ within or after their text; such a label is read as text; write all "
        "labels of a line before its text"
    )
