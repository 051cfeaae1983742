"""Figures under their public names, and the pace of an attempt."""

from __future__ import annotations

from app.training.loop.figures import Pace, training_figures, validation_figures
from app.training.loop.progress import Progress
from app.training.loop.schedule import Schedule
from tests.training.loops import settled


def test_training_figures_are_means_since_the_last_report() -> None:
    progress = Progress(loss=6.0, weight=4.0, correct=3, count=12)
    assert training_figures(progress, "generation") == {"train_loss": 1.5, "train_mean_token_accuracy": 0.25}
    assert training_figures(progress, "regression") == {"train_loss": 1.5}


def test_validation_figures_have_public_names() -> None:
    metrics = {"loss": 1.0, "accuracy": 0.5, "macro_f1": 0.4, "per_class": {}}
    part = {"valid_loss": 1.0, "valid_mean_token_accuracy": 0.5, "macro_f1": 0.4}
    assert validation_figures(metrics, full=False) == part
    full = {"full_valid_loss": 1.0, "full_valid_mean_token_accuracy": 0.5}
    assert validation_figures(metrics, full=True) == part | full


def test_the_pace_is_that_of_this_attempt() -> None:
    now = [100.0]
    progress = Progress(step=50, trained_tokens=1000, elapsed=500.0)
    pace = Pace(Schedule(settled(total_steps=80, max_seconds=None), progress), lambda: now[0])
    assert pace.seconds_left is None
    now[0], progress.step, progress.trained_tokens = 110.0, 60, 1400
    assert (pace.tokens_per_second, pace.seconds_left) == (40.0, 20.0)
    limited = Pace(Schedule(settled(total_steps=None, max_seconds=505.0), progress), lambda: now[0])
    assert limited.seconds_left == 5.0
