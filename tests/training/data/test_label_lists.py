"""Label cells that contain several labels are recognised, and remarks report this."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.training.failures import BadData
from tests.training.data.scans import scan, scan_labels
from tests.training.data.tables import write


@pytest.mark.parametrize(
    ("cells", "labels", "separator"),
    [
        (["a, b", "a", "b", "c, a"], ["a", "b", "c"], "commas"),
        (["billing", "delivery; urgent"], ["billing", "delivery", "urgent"], "';'"),
        (["a,b", "c,d"], ["a", "b", "c", "d"], "commas"),
        (["a\nb", "c"], ["a", "b", "c"], "line ends"),
        (["a|b", "b, a", "a"], ["a", "b"], "commas"),  # both parts are labels in other rows
        (["a; b", "a; x, y", "x, y", "b"], ["a", "b", "x, y"], "';'"),
    ],
)
def test_labels_are_split_where_it_is_certain(
    cells: list[str], labels: list[str], separator: str, tmp_path: Path
) -> None:
    result, remarks = scan_labels(tmp_path, cells, "multilabel")
    assert result.labels == labels
    remark = remarks["separated_labels"]
    assert remark.level == "info" and f"labels are separated by {separator}" in remark.message
    assert remark.where.startswith("line ") and "column 'label'" in remark.message


@pytest.mark.parametrize(
    "cells",
    [
        ["a|b", "Arts, Crafts", "Toys"],  # the parts are not labels in other rows
        ["a; b", "Smith, John"],  # both characters could be separators
    ],
)
def test_what_is_not_certain_is_warned_about(cells: list[str], tmp_path: Path) -> None:
    result, remarks = scan_labels(tmp_path, cells, "multilabel")
    assert cells[1] in result.labels and remarks["delimiters"].level == "warn"
    assert "separate several labels with |" in remarks["delimiters"].message


def test_lists_that_are_lists_already_are_not_split(tmp_path: Path) -> None:
    rows = [{"text": f"row {n}", "label": (["a, b"], ["a"], ["b", "c"])[n % 3]} for n in range(24)]
    path = write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)))
    result, remarks = scan(path, "multilabel")
    assert result.labels == ["a", "a, b", "b", "c"] and "separated_labels" not in remarks


@pytest.mark.parametrize(
    ("cells", "task", "labels"),
    [
        (["['a']", "['a', 'b']"], "multilabel", ["a", "b"]),
        (['{"choices": ["a", "b"]}', "a"], "multilabel", ["a", "b"]),
        (["['a']", "['b']"], "classification", ["a", "b"]),
        (["['a']", "[]", "['b']"], "multilabel", ["a", "b"]),
    ],
)
def test_lists_settle_the_task_that_the_request_leaves_open(
    cells: list[str], task: str, labels: list[str], tmp_path: Path
) -> None:
    result, remarks = scan_labels(tmp_path, cells)
    assert (result.task, result.labels) == (task, labels)
    assert f"the task is {task}" in remarks["label_lists"].message


def test_with_the_task_classification_lists_stay_texts_and_are_warned_about(tmp_path: Path) -> None:
    result, remarks = scan_labels(tmp_path, ["['a']", "['a', 'b']"], "classification")
    assert (result.task, result.labels) == ("classification", ["['a', 'b']", "['a']"])
    assert remarks["list_labels"].level == "warn" and "multilabel" in remarks["list_labels"].message


@pytest.mark.parametrize(
    "cells", [["a, b", "a", "b"], ["Arts, Crafts & Sewing", "Toys"], ["a|b", "c"], ["two\nlines", "c"], ["a;b", "c"]]
)
def test_delimiters_in_the_labels_of_a_classification_are_told(cells: list[str], tmp_path: Path) -> None:
    result, remarks = scan_labels(tmp_path, cells)
    assert result.labels == sorted(cells)
    assert remarks["delimiters"].level == "warn" and "set task to multilabel" in remarks["delimiters"].message


def test_plain_labels_bring_no_remark_but_their_counts(tmp_path: Path) -> None:
    assert scan_labels(tmp_path, ["a", "b c", "d-e", "f_g"])[1].keys() == {"labels"}
    assert scan_labels(tmp_path, ["a|b", "c"], "multilabel")[1].keys() == {"labels"}


@pytest.mark.parametrize("cell", ['{"taxonomy": [["a","b"]]}', "(a, b)", "['a', None]", '{"a": 0.5, "b": 0.5}'])
def test_cells_that_look_like_lists_and_cannot_be_read_are_never_cut(cell: str, tmp_path: Path) -> None:
    result, remarks = scan_labels(tmp_path, [cell, "c", "d"])
    assert cell in result.labels and remarks["unreadable_lists"].level == "warn"
    assert "write several labels as a JSON list" in remarks["unreadable_lists"].message
    assert not {"delimiters", "list_labels"} & remarks.keys()
    with pytest.raises(BadData, match=r"line 2, column 'label': .*JSON list"):
        scan_labels(tmp_path, [cell, "c", "d"], "multilabel")


@pytest.mark.parametrize(("first", "second"), [("['a', None]", "['b']"), ("['a', nan]", '["b", "c"]')])
def test_the_task_is_asked_for_if_only_some_lists_can_be_read(first: str, second: str, tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"column 'label': some rows have lists .* set task to classific"):
        scan_labels(tmp_path, [second, first, "c"])


def test_delimiters_in_brackets_do_not_separate_labels(tmp_path: Path) -> None:
    result, remarks = scan_labels(tmp_path, ["Arts (crafts, toys), Books", "Books", "Fun (a|b)"], "multilabel")
    assert result.labels == ["Arts (crafts, toys)", "Books", "Fun (a|b)"]
    assert "write several labels as a JSON list" in remarks["delimiters"].message


@pytest.mark.parametrize("cells", [["[27]", "[2, 3]"], ["{27}", "{2, 3}"]])
def test_class_numbers_in_lists_are_labels_in_every_format(cells: list[str], tmp_path: Path) -> None:
    result, remarks = scan_labels(tmp_path, cells)
    assert (result.task, result.labels) == ("multilabel", ["2", "3", "27"]) and "label_types" not in remarks


@pytest.mark.parametrize(
    "cells", [["a; b", "a", "", "b"], ["['a', 'b']", "['a']", ""], ["a, b", "", "a", "b"], ["a|b", "", "b"]]
)
def test_empty_cells_beside_lists_name_the_task_and_the_advice_works(cells: list[str], tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"the label is empty; for rows with several \(.*\) or no labels, set task"):
        scan_labels(tmp_path, cells)
    result, remarks = scan_labels(tmp_path, cells, "multilabel")
    assert result.labels == ["a", "b"] and "without a label are used" in remarks["no_labels"].message


def test_empty_cells_beside_plain_labels_are_only_empty(tmp_path: Path) -> None:
    with pytest.raises(BadData) as caught:
        scan_labels(tmp_path, ["a", "", "b"])
    assert "multilabel" not in caught.value.message


@pytest.mark.parametrize(
    ("cells", "advice"),
    [
        (["a; b", "a", "b"], "each cell is then split at ';'"),
        (["a, b", "a"], "each cell is then split at commas"),
        (["a; b", "Smith, John"], "and separate the labels with |"),
    ],
)
def test_a_warning_says_how_several_labels_are_separated(cells: list[str], advice: str, tmp_path: Path) -> None:
    assert advice in scan_labels(tmp_path, cells)[1]["delimiters"].message
