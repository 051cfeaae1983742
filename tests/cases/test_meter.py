"""A version learns and answers equally well with and without a large offset in the numeric features."""

from __future__ import annotations

import json
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.inference import inputs
from app.inference.items import Steps
from app.inference.lengths import LengthPolicy
from app.wire import engine as wire
from app.wire.trainer import Note
from tests.training import runs
from tests.training.served import ServedCheckpoint

CASES = Path(__file__).parent
Rows = list[dict[str, Any]]


def meter(base: float) -> Rows:
    command = [sys.executable, str(CASES / "make_meter.py"), "--base", str(base)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [json.loads(line) for line in lines.splitlines()]


def moved(rows: Rows, move: Callable[[float], list[float]]) -> Rows:
    return [{"features": [move(step[0]) for step in row["features"]], "label": row["label"]} for row in rows]


def trained(run: Path, table: str, name: str = "meter.jsonl") -> tuple[float, list[Any]]:
    """Train a version. Returns the macro F1 on the validation rows, and the events."""
    events = runs.train(runs.make(run, name, table, "gru", training={"epochs": 30, "width": 32}))
    metrics = json.loads((run / "checkpoint" / "metrics.json").read_text())
    return float(metrics["validation"]["macro_f1"]), [event for event in events if isinstance(event, Note)]


@pytest.mark.parametrize(
    ("name", "move"),
    [
        ("a meter", lambda x: [123_456_700 + x]),
        ("seconds since 1970", lambda x: [1_795_000_000 + x]),
        ("a coordinate in metres", lambda x: [5_812_345.0 + x / 50, 0.25]),
        ("below zero", lambda x: [-9e9 + x, 7.0]),
    ],
)
def test_an_offset_changes_nothing(tmp_path: Path, name: str, move: Callable[[float], list[float]]) -> None:
    rows = moved(meter(0), move)
    f1, notes = trained(tmp_path, "".join(json.dumps(row) + "\n" for row in rows))
    assert f1 == 1.0, name
    assert not {"lost_precision", "duplicates", "leaks"} & {note.kind for note in notes}
    served = ServedCheckpoint(tmp_path / "checkpoint")
    labels = json.loads((tmp_path / "checkpoint" / "labels.json").read_text())
    answers = served.scores([row["features"] for row in rows[:40]])
    assert [labels[scores.index(max(scores))] for scores in answers] == [row["label"] for row in rows[:40]]


def test_an_offset_changes_nothing_in_a_table_with_one_step_per_row(tmp_path: Path) -> None:
    lines = ["series,time,reading,label"]
    for number, row in enumerate(moved(meter(0), lambda x: [123_456_700 + x])):
        lines += [f"meter {number},{time},{step[0]:.2f},{row['label']}" for time, step in enumerate(row["features"])]
    f1, notes = trained(tmp_path, "\n".join(lines), "meter.csv")
    assert f1 == 1.0
    assert not {"lost_precision", "duplicates", "leaks"} & {note.kind for note in notes}


def test_what_travels_to_the_engine_keeps_the_digits() -> None:
    class Version:
        ref = "meter:1"

        class config:
            input, features, context_length = "features", 1, 8

    numbers = [123_456_700.25, 123_456_700.5]
    prepared = inputs.prepare([Steps([[number] for number in numbers])], Version, LengthPolicy())  # type: ignore[arg-type]
    (sequence,) = prepared.features
    assert sequence == wire.FeatureSequence(2, 1, struct.pack("<2d", *numbers), "f8")


@pytest.mark.parametrize(
    ("move", "reason"),
    [
        (lambda x: [1_795_000_000_000_000_000 + x * 300], r"values up to 1\.8e\+18, .* rounded to multiples of 256"),
        (lambda x: [1e17 + x * 100], "rounded to multiples of 16"),
        # a missing time among times
        (lambda x: [0.0 if x < 0.5 else 1_795_000_000 + x], r"loses \d+% of its changes between steps"),
    ],
)
def test_what_is_lost_all_the_same_is_warned_about(
    tmp_path: Path, move: Callable[[float], list[float]], reason: str
) -> None:
    table = "".join(json.dumps(row) + "\n" for row in moved(meter(0)[:40], move))
    run = runs.make(tmp_path, "meter.jsonl", table, "gru", training={"max_steps": 1, "width": 8})
    (note,) = [event for event in runs.train(run) if isinstance(event, Note) and event.kind == "lost_precision"]
    assert note.level == "warn"
    assert note.message.startswith("feature 1 ")
    assert re.search(reason, note.message)
