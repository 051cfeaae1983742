"""Every fault of a file is told with its place and what would be right; none of them ends the trainer."""

from __future__ import annotations

import gzip
import io
import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.checkpoint import directory as checkpoint
from app.errors import CheckpointInvalid
from app.training.data import files
from app.training.data import text as text_file
from app.training.data.files import detect, lines
from app.training.failures import BadData
from app.wire.trainer import Done, TrainFailed
from tests.training import runs
from tests.training.data.tables import read, write

LONG = "1" + "0" * 400

FAULTS: list[tuple[str, str | bytes, list[str]]] = [
    ("a.csv", "", ["a.csv is empty"]),
    ("a.csv", "text,label\nx,y,z\n", ["line 2", "column 3", "3 cells where the header has 2"]),
    ("a.csv", "text,label\nx,y\nz\n", ["line 3", "'label'", "a cell is missing"]),
    ("a.csv", 'text,label\nx,y\n"open,y\nx,y\n', ["line 3", "column 'text'", "malformed CSV", "never closed"]),
    (
        "a.csv",
        'text,label\nx,y\n"two\nlines","open\n',
        ["line 4", "column 'label'", "malformed CSV", "never closed"],
    ),
    ("a.csv", 'text,label\n"x" z,y\n', ["line 2", "column 'text'", "malformed CSV", "written twice"]),
    ("a.csv", 'text,label\n"a ""b""",y\nx,"y"z\n', ["line 3", "column 'label'", "malformed CSV"]),
    ("a.csv", "text,text\nx,y\n", ["line 1", "'text'", "2 times"]),
    ("a.csv", "tekst,label\nx,y\n", ["no column 'text'", "'tekst'", "did you mean", "columns.text"]),
    ("a.csv", "text,label\nx,\n", ["line 2", "'label'", "empty"]),
    ("a.csv", "text,label,split\nx,y,dev\n", ["line 2", "'split'", "'dev'", "validation"]),
    ("a.csv", b"text,label\nx,y\n\xffab,y\n", ["line 3", "column 1", "0xff", "offset 15", "UTF-8"]),
    ("a.csv", b"\xef\xbb\xbft\xc3\xa9xt\xff,label\n", ["line 1", "column 5", "0xff", "offset 8", "UTF-8"]),
    ("a.csv", "text,value\nx,1\ny,much\n", ["line 3", "'value'", "'much' is not a number"]),
    ("a.csv", "text,value\nx,nan\n", ["line 2", "not a finite number"]),
    ("a.jsonl", '{"text": "x", "label": "y"}\n{"text": }\n', ["line 2", "column 10", "JSON"]),
    ("a.jsonl", "[1]\n", ["line 1", "an array where a JSON object"]),
    ("a.jsonl", '{"text": 3, "label": "y"}\n', ["line 1", "'text'", "the number 3 where a text"]),
    ("a.jsonl", '{"text": "\\ud800", "label": "y"}\n', ["line 1", "'text'", "surrogate"]),
    ("a.jsonl", '{"text": "x", "label": ["y"]}\n', ["line 1", "'label'", "multilabel"]),
    ("a.jsonl", '{"messages": [{"role": "user", "content": "x"}]}\n', ["line 1", "assistant"]),
    ("a.jsonl", '{"messages": [{"role": "user"}]}\n', ["line 1", "message 1", "content"]),
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
    ("a.jsonl", f'{{"text": "x", "value": {"9" * 5000}}}\n', ["line 1", "column 24", "5,000 digits"]),
    ("a.jsonl", f'{{"text": "x", "label": {"[" * 99_999}}}\n', ["line 1", "column 123", "nested too deeply"]),
    ("a.csv", f"features,label\n{'[' * 99_999},y\n", ["line 2", "'features'", "nested too deeply"]),
    ("a.csv", f"features,label\n[{'9' * 5000}],y\n", ["line 2", "'features'", "5,000 digits"]),
    ("a.csv", "features,label\n[1;y\n", ["line 2", "'label'", "a cell is missing"]),
    ("a.csv", "series,value,label\na,x,up\n", ["line 2", "'value'", "'x' is not a number"]),
    ("a.csv", "series,x,label\na,1,up\n ,2,up\n", ["line 3", "'series'", "empty"]),
    ("a.csv", "series,time,x,label\na,noon,1,up\n", ["line 2", "'time'", "'noon' is not a time", "2026-01-31T09:05"]),
    ("a.csv", "series,time,x,label\na,12/31/2023,1,up\n", ["line 2", "'time'", "'12/31/2023' is not a time", "ISO"]),
    ("a.csv", "series,time,x,label\na,9:05,1,up\n", ["line 2", "'time'", "'9:05' is not a time", "ISO"]),
    (
        "a.csv",
        "series,time,x,label\na,2026-01-31,1,up\nb,3,1,up\na,3,1,up\n",
        ["line 4", "'time'", "'3' is a number, but the time of line 2 is a date without an offset"],
    ),
    (
        "a.csv",
        "series,time,x,label\na,2026-01-31T09:00Z,1,up\na,2026-01-31T09:00,1,up\n",
        ["line 3", "'time'", "is a date without an offset, but the time of line 2 is a date with an offset"],
    ),
    ("a.csv", "series,time,x,label\na,,1,up\n", ["line 2", "'time'", "empty"]),
    ("a.csv", "series,time,x,label\na,nan,1,up\n", ["line 2", "'time'", "not a time"]),
    ("a.csv", "text,lable\nx,y\n", ["column 'lable'", "did you mean 'label'?", "columns.label"]),
    ("a.csv", "text,Values\nx,1\n", ["column 'Values'", "did you mean 'value'?"]),
    ("a.csv", "text,label,splits\nx,y,train\n", ["column 'splits'", "did you mean 'split'?"]),
    ("a.csv.gz", gzip.compress(b"text,label\n" + os.urandom(9999))[:50] + b"x" * 999, ["cannot be unpacked"]),
    ("a.parquet", "text,label\nx,y\n", ["does not begin like a parquet file"]),
    ("a.csv.gz", gzip.compress(b"text,label\nx,y\n" * 99)[:-20], ["cannot be unpacked"]),
]


@pytest.mark.parametrize(
    ("name", "content", "said"), FAULTS, ids=[f"{n}-{said[-1]}" for n, (_, _, said) in enumerate(FAULTS)]
)
def test_faults(name: str, content: str | bytes, said: list[str], tmp_path: Path) -> None:
    with pytest.raises(BadData) as caught:
        read(write(tmp_path, name, content))
    assert [part for part in said if part not in caught.value.message] == [], caught.value.message


def table(rows: list[dict[str, Any]]) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), out)
    return out.getvalue()


NOON = datetime(2026, 1, 1, 12)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"text": "x", "value": 1.5}, {"text": "y", "value": None}], ["row 2", "'value'", "None is not a number"]),
        ([{"text": "x", "value": NOON}], ["row 1", "'value'", "is not a number"]),
        ([{"text": "x", "value": b"1"}], ["row 1", "'value'", "is not a number"]),
        ([{"series": "a", "x": NOON, "label": "up"}], ["row 1", "'x'", "is not a number"]),
        ([{"series": None, "x": 1.0, "label": "up"}], ["row 1", "'series'", "empty"]),
        ([{"features": [[NOON]], "label": "up"}], ["row 1", "'features'", "step 1, feature 1"]),
        ([{"features": [[1.0], None], "label": "up"}], ["row 1", "'features'", "differ in length"]),
        ([{"text": "x", "label": NOON}], ["row 1", "'label'", "a value where a label"]),
    ],
)
def test_faults_of_parquet(rows: list[dict[str, Any]], said: list[str], tmp_path: Path) -> None:
    with pytest.raises(BadData) as caught:
        read(write(tmp_path, "a.parquet", table(rows)))
    assert [part for part in said if part not in caught.value.message] == [], caught.value.message


def test_a_value_that_python_cannot_have_is_named(tmp_path: Path) -> None:
    times = pa.array([0, 1], pa.timestamp("ns"))
    pq.write_table(pa.table({"text": ["x", "y"], "label": ["a", "b"], "when": times}), tmp_path / "a.parquet")
    with pytest.raises(BadData, match=r"row 2, column 'when': unreadable value"):
        read(tmp_path / "a.parquet")


def test_broken_utf8_in_a_text_is_found_in_any_block(tmp_path: Path) -> None:
    content = b"\xef\xbb\xbf" + b"one\n" * 40_000 + b"tw\xc3\xa9\xff"
    source = detect(write(tmp_path, "a.txt", content), "a.txt")
    for reading in (lambda: list(text_file.pieces(source)), lambda: list(lines(source))):
        with pytest.raises(BadData) as caught:
            reading()
        place = "a.txt, line 40001, column 4: the byte 0xff at offset 160007 is not UTF-8"
        assert caught.value.message.startswith(place)


@pytest.mark.parametrize(
    ("name", "content", "place"),
    [
        ("a.jsonl", '{"text": "x", "label": "y"}\n{"text": "' + "x" * 3000, "line 2"),
        ("a.csv", "text,label\nx,y\n" + "x" * 3000, "line 3"),
        ("a.csv", 'text,label\nx,y\na,"open' + ",y\n" * 1000, "line 3, column 'label'"),
    ],
)
def test_a_record_has_a_largest_size(
    name: str, content: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "RECORD_BYTES", 2000)
    with pytest.raises(BadData, match=f"{name}, {place}: longer than 0 MiB"):
        read(write(tmp_path, name, content))


def outcome(run: Path) -> TrainFailed:
    last = runs.train(run)[-1]
    assert isinstance(last, TrainFailed)
    return last


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", '{"text": "x", "value": 1}\n' + f'{{"text": "y", "value": {LONG}}}\n', ["line 2", "'value'"]),
        (
            "a.jsonl",
            '{"features": [[1, 2]], "label": "y"}\n{"features": [[1]], "label": "z"}\n',
            ["line 2", "'features'", "steps of 1 numbers, but those of line 1 have 2"],
        ),
        (
            "a.csv",
            "text,label,split\na,x,train\nb,y,train\nc,x,val\nd,z,test\n",
            ["line 5", "'label'", "the label 'z' is held out"],
        ),
        ("a.csv", "text,value\n" + "".join(f"{n},3\n" for n in range(9)), ["line 2", "'value'", "has the value 3"]),
        ("a.csv", "text,label\n" + "".join(f"{n},x\n" for n in range(9)), ["line 2", "'label'", "two or more labels"]),
        ("a.csv", "text,label\n" + "".join(f"{n},x\n" for n in range(9)) + "y,\n", ["line 11", "'label'", "empty"]),
    ],
)
def test_they_end_the_job_and_not_the_trainer(name: str, content: str, said: list[str], tmp_path: Path) -> None:
    last = outcome(runs.make(tmp_path, name, content))
    assert (last.code, last.param) == ("invalid_training_file", "training_file")
    assert [part for part in said if part not in last.message] == [], last.message


def test_the_file_that_is_at_fault_is_blamed(tmp_path: Path) -> None:
    held_out = ("held.jsonl", '{"features": [[1]], "label": "y"}\n')
    content = '{"features": [[1, 2]], "label": "y"}\n'
    last = outcome(runs.make(tmp_path / "a", "a.jsonl", content, validation=held_out))
    assert (last.code, last.param) == ("invalid_validation_file", "validation_file")
    assert "held.jsonl, line 1, column 'features'" in last.message and "line 1 of a.jsonl have 2" in last.message
    last = outcome(runs.make(tmp_path / "b", "a.csv", runs.table(20), validation=("b.csv", "text,label\nx,new\n")))
    assert (last.code, "b.csv, line 2, column 'label': the label 'new'" in last.message) == (
        "invalid_validation_file",
        True,
    )


@pytest.mark.parametrize("place", ["app.training.data.rows.read_target", "app.training.prepare.encode.encode_targets"])
def test_what_nobody_foresaw_is_the_data_s_fault_too(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def odd(*_: object) -> None:
        raise ZeroDivisionError("odd")

    monkeypatch.setattr(place, odd)
    last = outcome(runs.make(tmp_path, "a.csv", runs.table(20)))
    assert (last.code, "ZeroDivisionError: odd" in last.message) == ("invalid_training_file", True)
    assert ("line 2" in last.message) == ("rows" in place)


@pytest.mark.parametrize("error", [OSError("disk"), RuntimeError("can't allocate memory"), MemoryError()])
def test_what_the_machine_lacks_is_not(error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    ("name", "said"),
    [
        ("config.json", "a.jsonl has 3 numbers a step, more than a version can hold: its config.json would have "),
        ("labels.json", "a.jsonl has 2 labels of 2 characters in all, more than a version can hold: its labels.json"),
        ("metrics.json", "a.jsonl has 2 labels of 2 characters in all, more than a version can hold: its metrics.json"),
    ],
)
def test_what_a_version_cannot_hold_is_told_before_it_is_trained(
    name: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(checkpoint.LIMITS, name, 1 << 16)
    rows = [{"features": [[n, 2, 3]], "label": "ab"[n % 2]} for n in range(20)]
    run = runs.make(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)), "rnn", training=TINY)
    last = outcome(run)
    assert (last.code, last.param) == ("invalid_training_file", "training_file")
    assert last.message.startswith(said)
    assert not (run / "checkpoints").exists()


def test_a_refusal_that_will_not_change_ends_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise CheckpointInvalid("too much")

    monkeypatch.setattr("app.training.report.export.finish", refuse)
    last = outcome(runs.make(tmp_path, "a.csv", runs.table(20), training=TINY))
    assert (last.code, last.message, last.checkpoint) == ("invalid_checkpoint", "too much", "checkpoints/step-1")


def test_a_plain_text_has_no_columns(tmp_path: Path) -> None:
    last = outcome(runs.make(tmp_path, "a.txt", runs.book(20), columns={"text": "body"}))
    assert (last.code, last.param) == ("invalid_training_file", "columns.text")
    assert last.message == "a.txt is plain text, which has no columns: leave columns.text out"


def test_a_packed_parquet_is_unpacked_as_far_as_there_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.training.data.parquet._MAX_UNPACKED_BYTES", 1 << 20)
    large = io.BytesIO()
    pq.write_table(
        pa.table({"text": ["x" * (2 << 20)], "label": ["y"]}), large, compression="none", use_dictionary=False
    )
    with pytest.raises(BadData, match=r"a.parquet.gz has more than 1,048,576 bytes when unpacked, which"):
        read(write(tmp_path, "a.parquet.gz", gzip.compress(large.getvalue())))
