"""Faults in the data end the job with a message for the user, and never crash the trainer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.checkpoint import directory as checkpoint
from app.errors import CheckpointInvalid
from app.wire.trainer import Done, TrainFailed
from tests.training import runs

LONG = "1" + "0" * 400


def outcome(run: Path) -> TrainFailed:
    """Train, and return the failure with which the training run ends."""
    last = runs.train(run)[-1]
    assert isinstance(last, TrainFailed)
    return last


@pytest.mark.parametrize(
    ("name", "content", "parts"),
    [
        ("a.jsonl", '{"text": "x", "value": 1}\n' + f'{{"text": "y", "value": {LONG}}}\n', ["line 2", "'value'"]),
        (
            "a.jsonl",
            '{"features": [[1, 2]], "label": "y"}\n{"features": [[1]], "label": "z"}\n',
            ["line 2", "'features'", "the row has 1 number per step, but line 1 has 2"],
        ),
        (
            "a.csv",
            "text,label,split\na,x,train\nb,y,train\nc,x,val\nd,z,test\n",
            ["line 5", "'label'", "held-out rows have the label 'z'"],
        ),
        ("a.csv", "text,value\n" + "".join(f"{n},3\n" for n in range(9)), ["line 2", "'value'", "has the value 3"]),
        ("a.csv", "text,label\n" + "".join(f"{n},x\n" for n in range(9)), ["line 2", "'label'", "at least two labels"]),
        ("a.csv", "text,label\n" + "".join(f"{n},x\n" for n in range(9)) + "y,\n", ["line 11", "'label'", "empty"]),
    ],
)
def test_faults_that_only_all_rows_show_end_the_job(name: str, content: str, parts: list[str], tmp_path: Path) -> None:
    last = outcome(runs.make(tmp_path, name, content))
    assert (last.code, last.param) == ("invalid_training_file", "training_file")
    assert [part for part in parts if part not in last.message] == [], last.message


def test_the_message_names_the_file_at_fault(tmp_path: Path) -> None:
    held_out = ("held.jsonl", '{"features": [[1]], "label": "y"}\n')
    content = '{"features": [[1, 2]], "label": "y"}\n'
    last = outcome(runs.make(tmp_path / "a", "a.jsonl", content, validation=held_out))
    assert (last.code, last.param) == ("invalid_validation_file", "validation_file")
    assert "held.jsonl, line 1, column 'features'" in last.message and "line 1 of a.jsonl has 2" in last.message
    last = outcome(runs.make(tmp_path / "b", "a.csv", runs.table(20), validation=("b.csv", "text,label\nx,new\n")))
    assert (last.code, "b.csv, line 2, column 'label': held-out rows have the label 'new'" in last.message) == (
        "invalid_validation_file",
        True,
    )


@pytest.mark.parametrize("place", ["app.training.data.rows.read_target", "app.training.prepare.encode.encode_targets"])
def test_an_unexpected_error_is_blamed_on_the_data(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def odd(*_: object) -> None:
        raise ZeroDivisionError("odd")

    monkeypatch.setattr(place, odd)
    last = outcome(runs.make(tmp_path, "a.csv", runs.table(20)))
    assert (last.code, "ZeroDivisionError: odd" in last.message) == ("invalid_training_file", True)
    assert ("line 2" in last.message) == ("rows" in place)


@pytest.mark.parametrize("error", [OSError("disk"), RuntimeError("can't allocate memory"), MemoryError()])
def test_an_error_of_the_machine_is_not_blamed_on_the_data(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("app.training.data.rows.read_split", fail)
    run = runs.make(tmp_path, "a.csv", runs.table(20))
    if isinstance(error, OSError):
        with pytest.raises(OSError, match="disk"):
            runs.train(run)
    else:
        assert outcome(run).code == "out_of_memory"
    monkeypatch.undo()
    assert isinstance(runs.train(runs.make(tmp_path, "a.csv", runs.table(20), training={"max_steps": 1}))[-1], Done)


TINY = {"width": 16, "layers": 1, "max_steps": 1, "batch_size": 4}


def test_a_version_holds_wide_steps_and_long_labels(tmp_path: Path) -> None:
    steps = [[n / 7 for n in range(26_000)]]
    rows = [
        {"features": steps, "label": label * 40_000, "split": split} for label in "ab" for split in ("train", "val")
    ]
    run = runs.make(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)), "rnn", training=TINY)
    assert isinstance(runs.train(run)[-1], Done)
    assert checkpoint.read(run / "checkpoint").labels == ["a" * 40_000, "b" * 40_000]


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("config.json", "a.jsonl has 3 numbers per step, more than a version can contain: its config.json would have "),
        (
            "labels.json",
            "a.jsonl has 2 labels of 2 characters in total, more than a version can contain: its labels.json",
        ),
        (
            "metrics.json",
            "a.jsonl has 2 labels of 2 characters in total, more than a version can contain: its metrics.json",
        ),
    ],
)
def test_data_that_no_version_can_hold_is_refused_before_training(
    name: str, start: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(checkpoint.LIMITS, name, 1 << 16)
    rows = [{"features": [[n, 2, 3]], "label": "ab"[n % 2]} for n in range(20)]
    run = runs.make(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)), "rnn", training=TINY)
    last = outcome(run)
    assert (last.code, last.param) == ("invalid_training_file", "training_file")
    assert last.message.startswith(start)
    assert not (run / "checkpoints").exists()


def test_an_invalid_checkpoint_ends_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise CheckpointInvalid("too much")

    monkeypatch.setattr("app.training.report.export.finish", refuse)
    last = outcome(runs.make(tmp_path, "a.csv", runs.table(20), training=TINY))
    assert (last.code, last.message, last.checkpoint) == ("invalid_checkpoint", "too much", "checkpoints/step-1")


def test_columns_of_a_plain_text_are_refused(tmp_path: Path) -> None:
    last = outcome(runs.make(tmp_path, "a.txt", runs.book(20), columns={"text": "body"}))
    assert (last.code, last.param) == ("invalid_training_file", "columns.text")
    assert last.message == "a.txt is plain text, which has no columns; leave out columns.text"
