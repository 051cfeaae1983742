"""Local files are checked as in a training run, but without importing torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from app.training.data.checking import check_files, check_held_out
from app.wire.training_options import Columns
from tests.training import runs
from tests.training.data.tables import write


def test_a_table_is_reported_as_the_training_does(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", runs.table(60))
    result = check_files(path)
    assert (result.task, result.error, result.faults) == ("classification", None, [])
    report, _ = runs.notes(runs.train(runs.make(tmp_path / "run", "a.csv", runs.table(60), training={"max_steps": 1})))
    assert {key: report[key] for key in result.report} == result.report
    assert result.report["labels"]["train"] == {"bad": 27, "good": 27}


def test_the_request_is_honoured(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "body,score\n" + "".join(f"row {n},{n}\n" for n in range(20)))
    held_out = write(tmp_path, "b.csv", "body,score\nx,1\n")
    result = check_files(path, held_out, columns=Columns(text="body", value="score"))
    assert (result.task, result.report["rows"]) == ("regression", {"train": 20, "validation": 1})
    result = check_files(path, task="multilabel", columns=Columns(text="body", label="score"))
    assert result.error is not None and result.error.param == "training_file"


def test_all_faults_are_listed(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "text,value\nx,y\nz,\n" + "".join(f"row {n},{n}\n" for n in range(20)))
    result = check_files(path)
    assert [fault.where[0] for fault in result.faults] == ["line 2", "line 3"]
    assert result.task == "regression" and result.error is not None and result.error.code == "invalid_training_file"
    assert check_files(path, skip_bad_rows=0.1).report["dropped"]["rows"] == 2
    broken = check_files(write(tmp_path, "b.csv", ""))
    assert [fault.message for fault in broken.faults] == ["b.csv is empty"]


def test_plain_text_is_counted(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", runs.book(9))
    size = len(runs.book(9))
    assert check_files(path, path).report == {"characters": {"train": size, "validation": size}}
    assert check_files(path, task="regression").error is not None


def test_numbers_are_not_written_anywhere(tmp_path: Path) -> None:
    rows = "".join(f'{{"features": [[{n}, 1]], "label": "{"ab"[n % 2]}"}}\n' for n in range(20))
    assert check_files(write(tmp_path, "a.jsonl", rows)).report["lengths"]["train"]["max"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        check_files(tmp_path / "none.csv")


def test_no_torch_is_loaded() -> None:
    code = "import sys, app.training.data.checking; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_file_for_an_evaluation_may_be_small(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "text,label\na,b\n")
    assert check_held_out(path, "classification", "tokens").error is None
    error = check_held_out(path, "classification", "features").error
    assert error is not None and "contains text, but the version expects numbers" in error.message
    error = check_held_out(write(tmp_path, "b.csv", "text,label\na,\n"), "classification", "tokens").error
    assert error is not None and error.where[0] == "line 2"
    error = check_held_out(path, "classification", "tokens", labels=["c", "B"]).error
    assert error is not None and "has none of the version's labels ('c', 'B'): its labels are 'b'" in error.message
    assert check_held_out(path, "classification", "tokens", labels=["c", "b"]).error is None
    book = write(tmp_path, "a.txt", runs.book(9))
    assert check_held_out(book, "generation", "tokens").error is None
    assert check_held_out(book, "classification", "tokens").error is not None


def test_labels_with_one_row_each_are_the_reason_why_no_row_is_held_out(tmp_path: Path) -> None:
    rows = [f"message {n},L{n}" for n in range(100)]
    error = check_files(write(tmp_path, "a.csv", "\n".join(["text,label", *rows]))).error
    assert error is not None
    assert "has 100 usable rows, but each of its 100 labels has only one row, so none can be held" in error.message
    assert "at least two rows" in error.message and "validation file" in error.message
    error = check_files(write(tmp_path, "a.csv", "\n".join(["text,label", *rows, *rows]))).error
    assert error is not None and "each of its 100 labels has only one distinct input" in error.message
    error = check_files(write(tmp_path, "a.csv", "text,label\nsame,a\nsame,a\n")).error
    assert error is not None and "too few distinct inputs to hold out validation rows" in error.message


def test_labels_that_are_all_different_numbers_lead_to_regression(tmp_path: Path) -> None:
    rows = "".join(f'row number {n},"{n},70"\n' for n in range(30))
    error = check_files(write(tmp_path, "a.csv", f"text,label\n{rows}")).error
    assert (
        error is not None
        and "numbers such as '0,70', has only one row; to predict the number, set columns.value" in (error.message)
    )
