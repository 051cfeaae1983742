"""Files with problematic labels, texts or conversations are read correctly, and anomalies are reported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.training.data.checking import DataReport, check_files
from app.wire.trainer import Done
from app.wire.training_options import Columns
from tests.training import runs

CASES = Path(__file__).parent
SMALL = {"width": 16, "layers": 1, "max_steps": 2, "batch_size": 16}


def check(name: str, **request: Any) -> tuple[DataReport, dict[str, dict[str, Any]]]:
    """The report on a case, and its remarks by kind."""
    result = check_files(CASES / name, **request)
    assert result.error is None, result.error
    return result, {remark["kind"]: remark for remark in result.report["remarks"]}


def labels(result: DataReport) -> dict[str, int]:
    """The number of rows of each label, over all splits."""
    counts: dict[str, int] = {}
    for split in result.report["labels"].values():
        for label, rows in split.items():
            counts[label] = counts.get(label, 0) + rows
    return counts


def test_look_alike_labels_are_told_before_the_training() -> None:
    result, remarks = check("c05_look_alike_labels.csv")
    assert labels(result) == {"billing": 8, "BILLING": 4, "DELIVERY": 4, "NaN": 1, "café": 2, "delivery": 8}
    merged = remarks["labels_merged"]["message"]
    assert "'billing\\u200b' (4 rows) as 'billing'" in merged and "'cafe\\u0301' (1 row) as 'café'" in merged
    twins = remarks["look_alike_labels"]
    assert twins["level"] == "warn"
    assert "'BILLING' (4 rows), 'billing' (8 rows); 'DELIVERY' (4 rows), 'delivery' (8 rows)" in twins["message"]
    assert "'NaN' (1 row)" in remarks["missing_labels"]["message"]
    assert "'billing' 8" in remarks["labels"]["message"]


def test_the_warnings_are_events_of_the_job(tmp_path: Path) -> None:
    content = (CASES / "c05_look_alike_labels.csv").read_bytes()
    events = runs.train(runs.make(tmp_path, "c05.csv", content, training=SMALL))
    assert isinstance(events[-1], Done)
    _, warnings = runs.notes(events)
    assert {"look_alike_labels", "missing_labels", "rare_labels"} <= warnings.keys()


@pytest.mark.parametrize("task", [None, "multilabel"])
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("c06_python_list_labels.csv", {"billing": 12, "delivery": 12, "urgent": 12}),
        ("c07_annotation_choices.csv", {"billing": 12, "delivery": 12, "urgent": 24}),
    ],
)
def test_lists_in_label_cells_are_labels(name: str, expected: dict[str, int], task: str | None) -> None:
    result, remarks = check(name, task=task)
    assert (result.task, labels(result)) == ("multilabel", expected)
    assert ("label_lists" in remarks) == (task is None)


def test_true_and_false_are_labels() -> None:
    result, _ = check("c09_bool_labels.jsonl")
    assert labels(result) == {"false": 12, "true": 12}


def test_null_texts_are_left_out_and_numbers_are_texts() -> None:
    result, remarks = check("c10_null_text.jsonl")
    assert (result.report["empty"], sum(result.report["rows"].values())) == (1, 25)
    assert remarks["as_text"]["where"] == "line 26"


def test_conversations_with_tool_calls_are_used_as_far_as_they_go() -> None:
    result, remarks = check("c11_tool_calls.jsonl")
    assert (result.task, sum(result.report["rows"].values())) == ("generation", 12)
    for kind in ("tool_calls", "tool_results"):
        assert (remarks[kind]["count"], remarks[kind]["level"]) == (12, "warn")


def test_whole_numbers_are_labels_in_the_order_of_numbers(tmp_path: Path) -> None:
    content = (CASES / "c19_int_labels.csv").read_bytes()
    events = runs.train(runs.make(tmp_path, "c19.csv", content, training=SMALL))
    assert isinstance(events[-1], Done)
    assert json.loads((tmp_path / "checkpoint" / "labels.json").read_text()) == [str(n) for n in range(12)]


def test_a_table_in_a_txt_file_is_recognised() -> None:
    result, remarks = check("c14_table_named.txt")
    assert (result.task, labels(result)) == ("classification", {"billing": 48, "delivery": 48})
    assert "columns 'text', 'label'" in remarks["read_as_table"]["message"]
    assert check_files(CASES / "c14_table_named.txt", task="generation").task == "generation"


def test_columns_of_0_and_1_are_asked_about(tmp_path: Path) -> None:
    error = check_files(CASES / "c15_one_hot.csv").error
    assert error is not None and "columns.label to the columns of zeros and ones, 'toxic,insult'" in error.message
    result, _ = check("c15_one_hot.csv", columns=Columns(label="toxic,insult"))
    assert (result.task, labels(result)) == ("multilabel", {"insult": 8, "toxic": 12})
    content = (CASES / "c15_one_hot.csv").read_bytes()
    run = runs.make(tmp_path, "c15.csv", content, training=SMALL, columns={"label": "toxic,insult"})
    assert isinstance(runs.train(run)[-1], Done)
