"""Dry runs in this process: their content, and the same errors as in a training run."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from app.training.loop import timing
from app.training.run.estimate import EstimateSession
from app.training.run.preparation import Machine
from app.training.run.session import Session
from app.wire.estimate import Estimate
from app.wire.trainer import CheckpointSaved, Done, Estimated, TrainEvent, TrainFailed
from tests.training import runs


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "MOST", 3)


def estimated(run: Path, memory: int = 0) -> TrainEvent:
    machine = Machine(threads=1, device="cpu", memory=memory)
    return EstimateSession(run, runs.Heard(), lambda: False, machine, time.monotonic()).attempt()


def plan(run: Path, **request: Any) -> Estimate:
    event = estimated(runs.make(run, "a.csv", runs.table(), **request))
    assert isinstance(event, Estimated)
    return event.estimate


def test_an_estimate_describes_the_run_that_would_be_trained(tmp_path: Path) -> None:
    training = {"max_steps": 12, "eval_every": 5, "width": 16}
    estimate = plan(tmp_path / "dry", model="gru", training=training)
    assert estimate.task == "classification" and estimate.data.rows == {"train": 216, "validation": 24}
    assert sum(estimate.data.labels["train"].values()) == 216
    assert estimate.data.columns == {"text": "text", "label": "label"} and estimate.data.ignored_columns == []
    (planned,) = estimate.plans
    chosen = {choice.option: choice for choice in planned.choices}
    assert (chosen["width"].value, chosen["width"].requested, chosen["layers"].requested) == (16, True, False)
    done = runs.train(runs.make(tmp_path / "real", "a.csv", runs.table(), model="gru", training=training))[-1]
    assert isinstance(done, Done)
    assert (planned.parameters, planned.steps, planned.width) == (done.parameters, 12, 16)
    assert planned.trained_tokens == pytest.approx(done.trained_tokens, rel=0.3)
    settled = runs.settled(tmp_path / "real")
    assert (planned.batch_size, planned.learning_rate) == (settled["batch_size"], settled["learning_rate"])
    assert planned.ends_earlier is None
    seconds = planned.seconds
    assert min(seconds.preparation, seconds.steps, seconds.evaluations, seconds.closing) > 0
    parts = seconds.preparation + seconds.steps + seconds.evaluations + seconds.closing
    assert seconds.total == pytest.approx(parts, abs=0.05) and estimate.seconds == seconds.total
    assert planned.memory.total <= planned.memory.limit
    assert not list((tmp_path / "dry").glob("resume")) and not (tmp_path / "dry" / "checkpoint").exists()


def test_the_reason_why_a_run_may_end_earlier(tmp_path: Path) -> None:
    (plateau,) = plan(tmp_path / "plateau", model="gru", validation_split=0.4).plans
    assert "2 consecutive evaluations without a better macro_f1" in (plateau.ends_earlier or "")
    (limited,) = plan(tmp_path / "limited", model="gru", training={"epochs": 500.0, "max_seconds": 2.0}).plans
    assert limited.ends_earlier == "max_seconds (2) ends the run"
    assert limited.seconds.steps + limited.seconds.evaluations == pytest.approx(2.0, abs=0.02)


def test_an_auto_job_has_a_plan_for_each_trial(tmp_path: Path) -> None:
    estimate = plan(tmp_path, model="auto")
    assert [item.model for item in estimate.plans] == ["linear", "gru"]
    assert (estimate.plans[0].layers, estimate.plans[0].width) == (None, None)
    assert ["width" in {choice.option for choice in item.choices} for item in estimate.plans] == [False, True]
    assert estimate.seconds > sum(item.seconds.total for item in estimate.plans)
    assert estimate.memory == max(item.memory.total for item in estimate.plans)


def test_text_to_continue(tmp_path: Path) -> None:
    event = estimated(runs.make(tmp_path, "a.txt", runs.book(), "transformer"))
    assert isinstance(event, Estimated)
    estimate = event.estimate
    assert (estimate.task, estimate.data.rows, estimate.data.labels) == ("generation", {}, {})
    assert estimate.data.tokens["train"] > estimate.data.tokens["validation"] > 0
    assert estimate.plans[0].ends_earlier is None


@pytest.mark.parametrize(
    ("content", "request_", "memory"),
    [
        ("text,label\na,b\n", {}, 0),
        (runs.table(60), {"training": {"layers": 2, "width": 2048}}, 500 * 2**20),
    ],
)
def test_what_a_training_run_refuses_is_refused_alike(
    tmp_path: Path, content: str, request_: dict[str, Any], memory: int
) -> None:
    dry = estimated(runs.make(tmp_path / "dry", "a.csv", content, **request_), memory)
    heard, real = runs.Heard(), runs.make(tmp_path / "real", "a.csv", content, **request_)
    machine = Machine(threads=1, device="cpu", memory=memory)
    failed = Session(real, heard, lambda: False, machine).attempt()
    assert isinstance(failed, TrainFailed) and dry == failed
    assert not any(isinstance(event, CheckpointSaved) for event in heard.events)
