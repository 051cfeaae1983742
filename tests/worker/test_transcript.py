"""A trainer's events are converted to events of the job's log."""

from __future__ import annotations

import math

import msgspec
import pytest

from app.wire.trainer import CheckpointSaved, Metrics, Phase, TrainEvent, TrainFailed
from app.worker import transcript

FIGURES = {"train_loss": 0.5, "lr": 0.01}


def test_metrics_carry_the_progress() -> None:
    event = transcript.to_event(Metrics(3, 10, FIGURES, 0.3, seconds_left=7.5, trained_tokens=99))
    assert event is not None and (event.kind, event.step, event.type) == ("metrics", 3, "metrics")
    assert event.data == {"step": 3, "total_steps": 10, "progress": 0.3, "seconds_left": 7.5, **FIGURES}
    assert event.message == "Step 3/10: training loss=0.5000"


def test_final_metrics_do_not_replace_those_of_their_step() -> None:
    """A job has at most one event for each kind and step."""
    final = transcript.to_event(Metrics(3, 10, {"full_valid_loss": 0.25}, 1.0, final=True))
    assert final is not None and (final.kind, final.step, final.type) == ("metrics.final", 3, "metrics")
    assert final.message == "Step 3/10: full validation loss=0.2500"


@pytest.mark.parametrize("evaluation", [False, True])
def test_an_evaluation_does_not_name_the_files_of_a_training_run(evaluation: bool) -> None:
    events = [transcript.to_event(Phase(name), evaluation=evaluation) for name in ("validating_files", "evaluating")]
    text = " ".join(event.message for event in events if event is not None)
    assert ("training" in text, "held-out" in text) == (not evaluation, not evaluation)


def test_a_metric_that_is_not_a_number_arrives_as_none() -> None:
    """JSON cannot represent NaN or infinity. An event that cannot be decoded would be lost, even the trainer's last
    one."""
    failed = TrainFailed("diverged", "the loss is not a number", metrics={"train_loss": math.nan})
    for event in (Metrics(1, 2, {"train_loss": math.inf}, 0.5), CheckpointSaved(1, "x", {"loss": math.nan}), failed):
        decoded = msgspec.json.decode(msgspec.json.encode(event), type=TrainEvent)
        assert type(decoded) is type(event)
        assert "None" in str(decoded) and "nan" not in str(decoded)


@pytest.mark.parametrize(
    ("code", "text"), [(1, "exit code 1"), (-9, "killed by SIGKILL"), (-99, "killed by signal 99")]
)
def test_exits_are_described(code: int, text: str) -> None:
    assert transcript.describe_exit(code) == text
