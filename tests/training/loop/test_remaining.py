"""The number and the sizes of the evaluations in a training run."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.training.loop.remaining import EvaluationWork, evaluations_between
from app.training.plan.config import settle
from tests.training import runs
from tests.training.loops import build_loop, ready, settled


@pytest.mark.parametrize(
    ("every", "first", "last", "count"),
    [(10, 0, 30, 3), (10, 0, 35, 4), (10, 10, 35, 3), (10, 34, 35, 1), (10, 35, 35, 0), (None, 0, 35, 0)],
)
def test_the_evaluations_that_are_still_to_come(every: int | None, first: int, last: int, count: int) -> None:
    assert evaluations_between(settled(eval_every=every), first, last) == count


def test_the_number_of_evaluations_is_that_of_a_run(tmp_path: Path) -> None:
    loop = build_loop(runs.make(tmp_path, "a.csv", runs.table(60), "gru", training={"max_steps": 7, "eval_every": 3}))
    loop.training.run()
    assert loop.training.progress.evaluations == evaluations_between(loop.settled, 0, 7) == 3


def test_the_sizes_of_evaluations(tmp_path: Path) -> None:
    spec, rows = ready(runs.make(tmp_path / "rows", "a.csv", runs.table(60), "gru"))
    assert EvaluationWork.of(settle(spec, rows, None, "cpu", 1), rows) == EvaluationWork(6, 6)
    spec, text = ready(runs.make(tmp_path / "text", "a.txt", runs.book(60), "gru"))
    tokens = len(text.validation.ids_T)  # type: ignore[union-attr]
    assert EvaluationWork.of(settle(spec, text, None, "cpu", 1), text) == EvaluationWork(tokens, 2 * tokens)
