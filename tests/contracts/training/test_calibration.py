"""Every training run with enough held-out rows produces a calibration. Its metrics agree with the served answers."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from app.checkpoint import directory as checkpoint
from app.checkpoint.calibration import APART, CROSS_FITTED
from app.wire.trainer import Done, Note, Stopped, TrainEvent
from tests.training import runs

SMALL = {"width": 8, "layers": 1, "max_steps": 40, "eval_every": 8, "batch_size": 16}


def train(folder: Path, count: int, model: str = "gru", **training: Any) -> tuple[Path, list[TrainEvent]]:
    run = runs.make(folder, "rows.csv", runs.table(count), model, training=SMALL | training)
    events = runs.train(run)
    assert isinstance(events[-1], Done)
    return run, events


def noted(events: list[TrainEvent], kind: str) -> list[str]:
    return [event.message for event in events if isinstance(event, Note) and event.kind == kind]


def test_a_stopped_training_ends_with_the_same_calibration(tmp_path: Path) -> None:
    whole, events = train(tmp_path / "whole", 600)
    contents = checkpoint.validate(whole / "checkpoint")
    assert contents.calibration is not None and contents.calibration.method == CROSS_FITTED
    assert contents.calibration.rows == 60
    assert "60 held-out rows, each scored by the checkpoint" in noted(events, "calibration")[0]

    stopped, calls = runs.make(tmp_path / "stopped", "rows.csv", runs.table(600), "gru", training=SMALL), 0
    for limit in itertools.count(120, 120):
        calls = itertools.count()
        last = runs.train(stopped, lambda: next(calls) >= limit)[-1]  # noqa: B023
        if not isinstance(last, Stopped):
            break
    assert isinstance(last, Done) and limit > 120, "it was never stopped"
    names = ("calibration.json", "metrics.json", "README.md", "plots/reliability.svg", "model.safetensors")
    for name in names:
        assert (stopped / "checkpoint" / name).read_bytes() == (whole / "checkpoint" / name).read_bytes(), name


@pytest.mark.parametrize("count", [240, 100])
def test_few_rows(tmp_path: Path, count: int) -> None:
    """With 24 held-out rows, the last weights are kept, so all of these rows can be used for the calibration.

    With 10 rows, there is no calibration.
    """
    run, events = train(tmp_path, count, ngrams=False)
    contents = checkpoint.validate(run / "checkpoint")
    metrics = json.loads((run / "checkpoint" / "metrics.json").read_text())["validation"]
    if count == 240:
        assert contents.calibration is not None and contents.calibration.method == APART
        assert metrics["ece"] == contents.calibration.after.ece  # type: ignore[union-attr]
        assert "How far to trust it" in (run / "checkpoint" / "README.md").read_text()
    else:
        assert contents.calibration is None and "ece" not in metrics
        assert "requires 20 held-out rows; there are 10 held-out rows" in noted(events, "no_calibration")[0]
