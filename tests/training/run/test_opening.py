"""The notes that the trainer emits at the start of a training run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from app.training.run.opening import announce
from app.wire.trainer import Note
from tests.training import runs
from tests.training.loops import build_loop


def notes(run: Path, report: dict[str, Any], rows: int = 500, **settled: Any) -> dict[str, Note]:
    loop = build_loop(runs.make(run, "rows.csv", runs.table(rows), "gru", training={"max_steps": 3}), **settled)
    loop.training.dataset.facts.report.update(report)
    announce(loop.heard, loop.training.dataset, loop.settled)
    events = [event for event in loop.heard.events if isinstance(event, Note)]
    assert len({(note.kind, note.step) for note in events}) == len(events)
    return {note.kind: note for note in events}


def test_clean_data_gives_no_warnings(tmp_path: Path) -> None:
    report = {"duplicates": {}, "leaks": {}, "conflicting_labels": 0}
    events = notes(tmp_path, report)
    assert events.keys() == {"data_report", "labels", "settled"}
    assert events["data_report"].message.startswith("data: ") and events["data_report"].message.endswith(" rows")
    assert events["settled"].message.startswith("gru: 1 layer of 64, context ")


def test_rows_that_are_cut_to_save_time_are_told(tmp_path: Path) -> None:
    note = notes(tmp_path, {}, row_limit=10)["row_limit"]
    assert note.level == "info" and " longer than 10 tokens; training reads only the beginning, but" in note.message


def test_each_warning_says_how_many(tmp_path: Path) -> None:
    report = {
        "duplicates": {"train": 2, "test": 1},
        "leaks": {"validation_in_train": 4, "test_in_validation": 5},
        "conflicting_labels": 1234,
        "ignored_columns": ["colour"],
        "unused_split": 0.2,
    }
    events = notes(tmp_path, report, truncated=7, max_seconds=9.0)
    warnings = {kind: note.message for kind, note in events.items() if note.level == "warn"}
    counts = {kind: message.split()[0] for kind, message in warnings.items()}
    assert {kind: count for kind, count in counts.items() if count[0].isdigit()} == {
        "conflicting": "1,234",
        "duplicates": "3",
        "leaks": "4",
        "test_leaks": "5",
        "truncated": "7",
    }
    assert "'colour'" in warnings["ignored_columns"] and "0.2" in warnings["unused_split"] and "time_limit" in warnings


def test_few_validation_rows_are_told_before_the_training(tmp_path: Path) -> None:
    few, some = (notes(tmp_path / str(rows), {}, rows)["few_validation_rows"].message for rows in (20, 240))
    assert few == (
        "validation on 2 rows: too few for meaningful metrics; 2 validation rows are too few to choose a "
        "checkpoint, so the weights of the last step are kept; with 50 or more rows, the weights with the best "
        "evaluation would be kept"
    )
    assert some.startswith("24 validation rows are too few to choose a checkpoint")
