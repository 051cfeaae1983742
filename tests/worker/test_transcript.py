"""What a trainer says, as the log has it."""

from __future__ import annotations

import math

import msgspec

from app.wire.trainer import CheckpointSaved, Metrics, TrainEvent, TrainFailed
from app.worker import transcript as telling

FIGURES = {"train_loss": 0.5, "lr": 0.01}


def test_metrics_carry_how_far_it_is() -> None:
    said = telling.line(Metrics(3, 10, FIGURES, 0.3, seconds_left=7.5, trained_tokens=99))
    assert said is not None and (said.kind, said.step, said.type) == ("metrics", 3, "metrics")
    assert said.data == {"step": 3, "total_steps": 10, "progress": 0.3, "seconds_left": 7.5, **FIGURES}
    assert said.message == "Step 3/10: training loss=0.5000"


def test_the_last_figures_stand_beside_those_of_their_step() -> None:
    """A job's events are unique by kind and step."""
    final = telling.line(Metrics(3, 10, {"full_valid_loss": 0.25}, 1.0, final=True))
    assert final is not None and (final.kind, final.step, final.type) == ("metrics.final", 3, "metrics")
    assert final.message == "Step 3/10: full validation loss=0.2500"


def test_a_figure_that_is_no_number_costs_no_event() -> None:
    """JSON has no word for it, and an event that cannot be read would be lost, a trainer's last word too."""
    failed = TrainFailed("diverged", "it has", metrics={"train_loss": math.nan})
    for event in (Metrics(1, 2, {"train_loss": math.inf}, 0.5), CheckpointSaved(1, "x", {"loss": math.nan}), failed):
        heard = msgspec.json.decode(msgspec.json.encode(event), type=TrainEvent)
        assert type(heard) is type(event)
        assert "None" in str(heard) and "nan" not in str(heard)
