"""Labels that consist of labels of other rows are reported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.training.data.inputs import open_files
from app.training.data.label_compounds import joiner_of
from app.training.data.scan import DataFiles, scan_files
from app.wire.training_options import Columns
from tests.training.data.scans import scan, scan_labels
from tests.training.data.tables import detected, write


@pytest.mark.parametrize(
    ("cell", "joiner"),
    [
        ("a#b", "'#'"), ("a/b", "'/'"), ("a+b", "'+'"), ("a & b", "'&'"), ("a b", "spaces"), ("a and b", "'and'"),
        ("a und b", "'und'"), ("a y b", "'y'"), ("a et b", "'et'"), ("a or b", "'or'"), ("a and/or b", "'and/or'"),
        ("A and B", "'and'"), ("a - b", "'-'"), ("a_b", "'_'"), ("a -> b", "'->'"), ("a、b", "'、'"), ("a和b", "'和'"),
        ("a > b and a", "'>'"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("task", [None, "multilabel"])
def test_labels_that_join_labels_of_other_rows_are_told(
    cell: str, joiner: str, task: str | None, tmp_path: Path
) -> None:
    result, remarks = scan_labels(tmp_path, ["a", "b", cell], task)
    assert cell in result.labels and remarks["compound_labels"].level == "warn"
    message = remarks["compound_labels"].message
    assert f"joined by {joiner}, but each is read as one label (4 rows)" in message
    assert message.endswith("separate them with |") and remarks["compound_labels"].count == 4


@pytest.mark.parametrize(
    "cell", ["C#", "a/c", "R&D", "A+", "a#a", "able", "a band", "bandana", "a c b", "a is not like b", "b" * 300]
)
def test_other_labels_with_such_characters_are_not_told(cell: str, tmp_path: Path) -> None:
    assert "compound_labels" not in scan_labels(tmp_path, ["a", "b", "A", cell] if cell != "a c b" else ["a", cell])[1]


@pytest.mark.parametrize("cells", [["0", "5", "0.5"], ["1", "2", "1-2"], ["10", "30", "10:30"]])
def test_numbers_and_times_are_single_labels(cells: list[str], tmp_path: Path) -> None:
    assert "compound_labels" not in scan_labels(tmp_path, cells)[1]


def test_the_last_label_of_a_sentence_is_told(tmp_path: Path) -> None:
    """'bug, ui and api' is split at the comma, so that 'ui and api' remains."""
    cells = ["bug", "ui", "api", "bug, ui", "bug, ui and api"]
    result, remarks = scan_labels(tmp_path, cells, "multilabel")
    assert result.labels == ["api", "bug", "ui", "ui and api"]
    assert "such as 'ui and api'" in remarks["compound_labels"].message


def test_the_labels_of_lists_may_contain_several_words(tmp_path: Path) -> None:
    labels = (["machine learning"], ["machine", "learning"], ["learning"])
    rows = [{"text": f"row {n}", "label": labels[n % 3]} for n in range(24)]
    _, remarks = scan(write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows))), "multilabel")
    assert "compound_labels" not in remarks


def test_several_joiners_are_reported_separately(tmp_path: Path) -> None:
    rows = "".join(f"row {n},{('a', 'b', 'a or b', 'a + b', 'b or a')[n % 5]}\n" for n in range(50))
    files = open_files(detected(write(tmp_path, "a.csv", f"text,label\n{rows}")), None, Columns(), "multilabel")
    assert isinstance(files, DataFiles)
    scan_files(files, 0.1, None)
    remarks = [remark for remark in files.training.source.remarks if remark.kind == "compound_labels"]
    assert [remark.count for remark in remarks] == [20, 10]
    assert "such as 'a or b'" in remarks[0].message and "such as 'a + b'" in remarks[1].message


def test_the_first_joiner_that_is_not_a_separator_counts() -> None:
    labels = {"a", "b", "c"}
    assert joiner_of("a, b and c", labels) == "and"
    assert joiner_of("a, b", labels) is None
    assert joiner_of("a", labels) is None
