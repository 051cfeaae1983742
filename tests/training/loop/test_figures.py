"""The public names of training figures, and the estimate of the remaining time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.training.loop.figures import Pace, training_figures, validation_figures
from app.training.loop.progress import Progress
from app.training.loop.remaining import CLOSING, EvaluationWork
from app.training.loop.schedule import Schedule
from tests.training import runs
from tests.training.loops import build_loop, settled

NO_EVALUATIONS = EvaluationWork(regular=0, closing=0)


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


def paced(progress: Progress, clock: list[float], work: EvaluationWork = NO_EVALUATIONS, **settings: Any) -> Pace:
    choices = settled(**{"total_steps": 80, "max_seconds": None, "eval_every": None, "batch_size": 4} | settings)
    return Pace(Schedule(choices, progress), lambda: clock[0], work)


def test_the_pace_is_that_of_this_attempt() -> None:
    now = [100.0]
    progress = Progress(step=50, trained_tokens=1000, elapsed=500.0)
    pace = paced(progress, now)
    assert pace.seconds_left is None
    now[0], progress.step, progress.trained_tokens = 110.0, 60, 1400
    assert (pace.tokens_per_second, pace.seconds_left) == (40.0, 20.0 + CLOSING)
    assert paced(progress, now, total_steps=None, max_seconds=505.0).seconds_left == 5.0 + CLOSING


def test_evaluations_count_by_their_own_pace() -> None:
    now, progress = [0.0], Progress()
    pace = paced(progress, now, EvaluationWork(regular=30, closing=90), eval_every=10, accumulation=1)
    now[0], progress.step = 5.0, 5
    # Before the first evaluation, a row takes a third of its share of a step: 1 / (4 * 3) seconds.
    assert pace.seconds_left == pytest.approx(75.0 + 8 * 30 / 12 + 90 / 12 + CLOSING)
    now[0], progress.step, progress.evaluations, progress.evaluating = 16.0, 10, 1, 6.0
    assert pace.seconds_left == pytest.approx(70.0 + 7 * 6.0 + 3 * 6.0 + CLOSING)
    now[0], progress.step, progress.evaluations, progress.evaluating = 128.0, 80, 8, 48.0
    assert pace.seconds_left == pytest.approx(3 * 6.0 + CLOSING)


def test_steps_after_the_training_of_the_branch_have_a_pace_of_their_own() -> None:
    now, progress = [0.0], Progress()
    pace = paced(progress, now, branch_steps=20)
    for step in range(1, 31):
        now[0], progress.step = now[0] + (3.0 if step <= 20 else 1.0), step
        pace.advance()
    assert pace.seconds_left == 50.0 + CLOSING


def test_the_first_step_counts_only_until_the_second(tmp_path: Path) -> None:
    now, progress = [0.0], Progress(step=10)
    pace = paced(progress, now, branch_steps=0)
    now[0], progress.step = 30.0, 11
    pace.advance()
    assert pace.seconds_left == 69 * 30.0 + CLOSING
    for step in range(12, 15):
        now[0], progress.step = now[0] + 2.0, step
        pace.advance()
    assert pace.seconds_left == 66 * 2.0 + CLOSING


def test_after_a_plateau_the_estimate_is_exact() -> None:
    now, progress = [0.0], Progress()
    pace = paced(progress, now, schedule="plateau", cooldown=0.5)
    now[0], progress.step = 20.0, 20
    assert pace.seconds_left == 60.0 + CLOSING
    progress.cooldown_start = 20
    assert pace.seconds_left == 10.0 + CLOSING


def test_the_time_before_the_first_step_does_not_count(tmp_path: Path) -> None:
    now = [0.0]
    loop = build_loop(
        runs.make(tmp_path, "a.csv", runs.table(60), "gru", training={"max_steps": 4, "eval_every": 1}), lambda: now[0]
    )
    now[0] = 1000.0  # the baseline is fitted
    step = loop.training.optimizer.step

    def slow(rate: float) -> None:
        step(rate)
        now[0] += 2.0

    loop.training.optimizer.step = slow  # type: ignore[method-assign]
    loop.training.run()
    left = [event.seconds_left for event in loop.metrics]
    assert left == [pytest.approx(2.0 * (4 - event.step) + CLOSING) for event in loop.metrics] and len(left) == 4
