"""The learning rate, the times of evaluations and reports, and the end of a training run."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.training.loop.progress import Progress
from app.training.loop.schedule import Schedule, learning_rate
from tests.training.loops import settled


def schedule(progress: Progress, **changes: Any) -> Schedule:
    limits = {"total_steps": None, "max_seconds": None, "eval_every": None, "patience": 0}
    return Schedule(settled(**(limits | changes)), progress)


def test_the_rate_rises_linearly_and_falls_to_a_hundredth() -> None:
    rate = [learning_rate(settled(), progress / 10) for progress in range(11)]
    assert rate[:3] == pytest.approx([0.001, 0.05, 0.1])
    assert rate[6] == pytest.approx(0.1 * (0.01 + 0.99 / 2))
    assert rate[10] == pytest.approx(0.001)
    linear = [learning_rate(settled(schedule="linear"), progress / 10) for progress in (2, 6, 10)]
    assert linear == pytest.approx([0.1, 0.1 * (0.01 + 0.99 / 2), 0.001])
    assert {learning_rate(settled(schedule="constant"), p / 10) for p in range(2, 11)} == {0.1}
    late = [learning_rate(settled(schedule="plateau", cooldown=0.25), p / 10) for p in (2, 8, 9, 10)]
    assert late == pytest.approx([0.1, 0.1, 0.1 * (0.01 + 0.99 / 2), 0.001])


@given(st.sampled_from(["cosine", "linear", "constant", "plateau"]), st.floats(0, 1), st.floats(0, 1))
def test_the_rate_is_always_within_its_bounds(schedule: str, warmup: float, progress: float) -> None:
    rate = learning_rate(settled(schedule=schedule, warmup_ratio=warmup), progress)
    assert 0.1 * 0.0099 <= rate <= 0.1 * 1.0001


@pytest.mark.parametrize(
    ("limits", "fraction"),
    [
        ({"total_steps": 40}, 0.25),
        ({"max_seconds": 100.0}, 0.5),
        ({"total_steps": 40, "max_seconds": 100.0}, 0.5),
        ({"total_steps": 8}, 1.0),
        ({}, 0.0),
    ],
)
def test_the_fraction_is_of_steps_or_time_whichever_is_further(limits: dict[str, Any], fraction: float) -> None:
    at_ten = schedule(Progress(step=10, elapsed=50.0), **limits)
    assert at_ten.fraction == fraction
    assert at_ten.finished is (fraction == 1.0)


def test_patience_ends_a_training() -> None:
    assert not schedule(Progress(without_gain=9), total_steps=99).out_of_patience
    assert not schedule(Progress(step=9, without_gain=2), total_steps=99, patience=3).finished
    assert schedule(Progress(step=9, without_gain=3), total_steps=99, patience=3).finished


def test_a_training_takes_a_step_even_if_the_time_is_over_before() -> None:
    assert not schedule(Progress(elapsed=9.0), max_seconds=1.0).finished
    assert schedule(Progress(step=1, elapsed=9.0), max_seconds=1.0).finished


def test_after_a_plateau_the_rate_falls_and_the_training_ends() -> None:
    progress = Progress(step=99, without_gain=2)
    plan = schedule(progress, schedule="plateau", cooldown=0.3, total_steps=500, patience=2, warmup_ratio=0.0)
    assert not plan.plateaued  # it is too early to tell
    progress.step = 100
    assert plan.plateaued and not plan.finished and not plan.ended_early
    progress.cooldown_start = 100
    assert (plan.plateaued, plan.total_steps, plan.rate) == (False, 130, pytest.approx(0.1))
    progress.step = 115
    assert plan.rate == pytest.approx(0.1 * (0.01 + 0.99 / 2)) and not plan.finished
    progress.step = 130
    assert plan.rate == pytest.approx(0.001) and plan.finished and plan.ended_early


def test_the_rate_of_the_branch_falls_to_zero() -> None:
    def rates(start: int) -> list[float]:
        progress = Progress(cooldown_start=start)
        plan = schedule(progress, schedule="plateau", cooldown=1.0, total_steps=9, branch_steps=4,
                        branch_learning_rate=0.2)  # fmt: skip
        return [plan.branch_rate for progress.step in range(6)]

    assert rates(-1) == pytest.approx([0.2, 0.15, 0.1, 0.05, 0, 0])
    assert rates(2)[2:5] == pytest.approx([0.1, 0.05, 0])


def test_a_plateau_during_the_planned_fall_changes_nothing() -> None:
    late = Progress(step=800, without_gain=5)
    plan = schedule(late, schedule="plateau", cooldown=0.3, total_steps=1000, patience=2)
    assert not plan.plateaued and not plan.finished and plan.rate < 0.1
    assert not schedule(late, schedule="cosine", cooldown=0.3, total_steps=2000, patience=2).plateaued


def evaluations(**changes: Any) -> list[int]:
    progress = Progress()
    due = []
    plan = schedule(progress, **changes)
    while True:
        if plan.evaluation_due:
            due.append(progress.step)
            progress.evaluated, progress.evaluations = progress.step, progress.evaluations + 1
            assert not plan.evaluation_due  # once a step
        if plan.finished:
            return due
        progress.step, progress.elapsed = progress.step + 1, progress.elapsed + 1.0


def test_evaluations_come_every_so_many_steps_and_at_the_end() -> None:
    assert evaluations(total_steps=10, eval_every=4) == [4, 8, 10]


def test_ten_evaluations_are_spread_over_a_limited_time() -> None:
    assert evaluations(max_seconds=50.0) == [5, 10, 15, 20, 25, 30, 35, 40, 45, 50]


def test_slow_evaluations_are_rarer_where_time_is_limited() -> None:
    slow = schedule(Progress(step=10, elapsed=20.0, evaluating=1.5, evaluations=1), max_seconds=100.0)
    assert not slow.evaluation_due
    slow.progress.elapsed = 30.0
    assert slow.evaluation_due


def test_there_are_about_a_hundred_reports() -> None:
    for total in (50, 100, 1_000, 12_345):
        due = [schedule(Progress(step=step), total_steps=total, eval_every=total).report_due for step in range(total)]
        assert 50 <= sum(due) <= 101
    unlimited = [step for step in range(1, 2_000) if schedule(Progress(step=step), max_seconds=1e9).report_due]
    assert unlimited[:3] == [5, 10, 15] and unlimited[-1] - unlimited[-2] == 80
