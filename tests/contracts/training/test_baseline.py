"""The baseline of a training run is part of the events, the card and the metrics, and is the same after kills."""

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from app.wire.trainer import Done, Note, Phase, TrainEvent
from tests.training import runs

STEPS = {"max_steps": 6, "baseline": True}


def _notes(events: list[TrainEvent], kind: str) -> list[Note]:
    return [event for event in events if isinstance(event, Note) and event.kind == kind]


def _report(run: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((run / "checkpoint" / "metrics.json").read_text())["baseline"]
    return report


def _multilabel() -> str:
    rows = [
        f"{text},{label}{'|even' if number % 2 else ''}" for number, (text, label) in enumerate(runs.sentences(240))
    ]
    return "text,label\n" + "\n".join(rows) + "\n"


def _values() -> str:
    return "text,value\n" + "".join(f"{text},{len(text)}\n" for text, _ in runs.sentences(240))


def _numbers() -> str:
    lines = [
        json.dumps({"features": [[k * (1 + number % 2), number % 5] for k in range(4)], "label": "ab"[number % 2]})
        for number in range(240)
    ]
    return "\n".join(lines)


def _prompts() -> str:
    lines = [json.dumps({"prompt": f"{text}: ", "completion": label * 20}) for text, label in runs.sentences(240)]
    return "\n".join(lines)


CASES = {
    "classification": ("t.csv", runs.table(), "accuracy"),
    "multilabel": ("t.csv", _multilabel(), "accuracy"),
    "regression": ("t.csv", _values(), "r2"),
    "numbers": ("t.jsonl", _numbers(), "accuracy"),
    "text": ("t.txt", runs.book(), "bits_per_character"),
    "prompts": ("t.jsonl", _prompts(), "bits_per_character"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_baseline_is_in_events_card_and_metrics(case: str, tmp_path: Path) -> None:
    name, content, metric = CASES[case]
    task = {"multilabel": "multilabel"}.get(case)
    events = runs.train(runs.make(tmp_path, name, content, training=STEPS, task=task))
    done = events[-1]
    assert isinstance(done, Done), done
    (fitted,), (compared,) = _notes(events, "baseline"), _notes(events, "comparison")
    report = _report(tmp_path)
    assert done.metrics["baseline"] == report
    assert fitted.data == {key: report[key] for key in ("model", "description", "train", "splits")}
    assert compared.message == report["summary"]
    shown = report["summary"]
    if metric == "accuracy":  # the card shows shares in per cent
        shown = re.sub(r"(?<=: )[01]\.\d{3}\b", lambda share: f"{float(share[0]):.1%}", shown)
        assert shown.count("%") == 2
    assert shown in (tmp_path / "checkpoint" / "README.md").read_text()
    comparison = report["comparison"]
    assert comparison["metric"] == metric
    assert comparison["baseline"] == report["splits"]["validation"][metric]
    assert comparison["network"] == pytest.approx(done.metrics["validation"][metric])
    assert ("p" in comparison) == (metric != "bits_per_character")


def test_the_baseline_is_fitted_before_the_first_step(tmp_path: Path) -> None:
    events = runs.train(runs.make(tmp_path, "t.csv", runs.table(), training=STEPS))
    names = [
        event.phase if isinstance(event, Phase) else getattr(event, "kind", type(event).__name__) for event in events
    ]
    assert names.index("training") < names.index("baseline") < names.index("Metrics")


@pytest.mark.parametrize(
    ("rows", "options"), [(240, {"baseline": False}), (60, {}), (240, {"baseline": True, "max_seconds": 0.01})]
)
def test_there_may_be_no_baseline(rows: int, options: dict[str, Any], tmp_path: Path) -> None:
    """There is no baseline if the request disables it, if there are too few rows, or if the time limit is too short."""
    events = runs.train(runs.make(tmp_path, "t.csv", runs.table(rows), training={"max_steps": 2} | options))
    done = events[-1]
    assert isinstance(done, Done)
    assert "baseline" not in done.metrics
    assert not _notes(events, "comparison")
    reasons = ["there is no baseline: it was not fitted within max_seconds (0.01)"] * ("max_seconds" in options)
    assert [note.message for note in _notes(events, "baseline")] == reasons


def test_a_baseline_that_cannot_be_fitted_fails_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = runs.make(tmp_path, "t.csv", runs.table(), training=STEPS)
    monkeypatch.setattr("app.training.baseline.process.sys.executable", "/bin/false")
    events = runs.train(run)
    assert isinstance(events[-1], Done)
    assert [note.message for note in _notes(events, "baseline")] == ["there is no baseline: it could not be fitted"]


def test_a_killed_run_has_the_same_baseline(tmp_path: Path) -> None:
    """The run is killed once while the baseline is fitted, and once afterwards."""
    whole = runs.make(tmp_path / "whole", "t.csv", runs.table(), training=STEPS)
    runs.train(whole)
    run = runs.make(tmp_path / "killed", "t.csv", runs.table(), training=STEPS)
    with runs.trainer(run) as process:
        for event in runs.events(process):
            if isinstance(event, Phase) and event.phase == "training":
                os.killpg(process.pid, signal.SIGKILL)
    assert not (run / "baseline").exists()
    with runs.trainer(run) as process:
        for event in runs.events(process):
            if isinstance(event, Note) and event.kind == "baseline":
                os.killpg(process.pid, signal.SIGKILL)
    fitted_at = (run / "baseline" / "report.json").stat().st_mtime_ns
    with runs.trainer(run) as process:
        assert isinstance(list(runs.events(process))[-1], Done)
    assert (run / "baseline" / "report.json").stat().st_mtime_ns == fitted_at  # it was reused
    assert _report(run) == _report(whole)
    assert runs.digest(run) == runs.digest(whole)
