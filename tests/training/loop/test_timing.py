"""The timing of steps, with a clock that only steps and evaluations advance."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.training.loop.timing import FEWEST, MOST, Timings, time_training
from tests.training import runs
from tests.training.loops import Loop, build_loop

CSV, TEXT = ("a.csv", runs.table(120)), ("a.txt", runs.book(60))


def timed(loop: Loop, early: float, late: float, evaluation: float, budget: float) -> Timings:
    """Time a loop whose steps and evaluations take these times."""
    now, training = [0.0], loop.training

    def step() -> None:
        now[0] += early if training.progress.step < training.settled.branch_steps else late
        training.progress.step += 1
        training.progress.trained_tokens += 10

    def evaluate() -> None:
        now[0] += evaluation

    training.step, training.evaluate = step, evaluate  # type: ignore[method-assign]
    return time_training(training, budget, lambda: now[0])


def test_steps_with_and_without_the_branch_are_timed_apart(tmp_path: Path) -> None:
    loop = build_loop(runs.make(tmp_path, *CSV, "gru"), branch_steps=20, total_steps=100)
    timings = timed(loop, 0.5, 0.25, 2.0, 3.0)
    assert timings == Timings(0.5, 0.25, 2.0)
    assert timings.of_steps(100, 20) == 20 * 0.5 + 80 * 0.25 and timings.of_steps(10, 20) == 5.0


@pytest.mark.parametrize(("seconds", "steps"), [(1.0, FEWEST), (100.0, 1), (0.0, MOST)])
def test_slow_steps_are_few_and_fast_steps_are_limited(tmp_path: Path, seconds: float, steps: int) -> None:
    loop = build_loop(runs.make(tmp_path, *TEXT, "gru"))
    timed(loop, seconds, seconds, 1.0, 2.0)
    assert loop.training.progress.step == 1 + steps


def test_batches_of_different_lengths_are_corrected_by_their_tokens(tmp_path: Path) -> None:
    loop = build_loop(runs.make(tmp_path, *CSV, "gru", training={"batch_size": 4}), branch_steps=0)
    mean = 4 * float(loop.training.dataset.train.lengths_N.mean())  # type: ignore[union-attr]
    assert timed(loop, 1.0, 1.0, 1.0, 2.0).late_step == pytest.approx(mean / 10)


def test_real_steps_are_timed(tmp_path: Path) -> None:
    timings = time_training(build_loop(runs.make(tmp_path, *CSV, "gru"), total_steps=90).training, 0.01)
    assert min(timings.early_step, timings.late_step, timings.evaluation) > 0
