"""The rules by which a training run chooses the weights that it keeps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.training.loop import loop, selection
from app.training.loop.progress import Progress
from app.wire.trainer import Note
from tests.training import runs
from tests.training.loops import build_loop


def kept(rule: str, evaluations: list[dict[str, Any]]) -> list[int]:
    """The numbers of the evaluations whose weights are kept, counted from 1. Evaluations are evenly spaced."""
    progress, numbers = Progress(), []
    for number, metrics in enumerate(evaluations, start=1):
        fraction = number / len(evaluations)
        replaces = selection.improves(rule, metrics, fraction, progress)
        progress.best_value = selection.best(rule, metrics, fraction, progress)
        if replaces:
            progress.best_metrics = {"valid_loss": metrics["loss"], "macro_f1": metrics["macro_f1"]}
            numbers.append(number)
    return numbers


def evaluations(*figures: tuple[float, float]) -> list[dict[str, Any]]:
    return [{"macro_f1": f1, "loss": loss} for f1, loss in figures]


def test_of_equal_rates_the_lower_loss_wins() -> None:
    """In the first evaluation in which both validation rows are right, the loss is 0.687. The lowest loss is 0.2."""
    course = evaluations((0.33, 0.7), (1.0, 0.687), (0.33, 0.6), (1.0, 0.4), (1.0, 0.2), (1.0, 0.3))
    assert kept("macro_f1", course) == [1, 2, 4, 5]


def test_a_better_rate_wins_at_any_loss() -> None:
    assert kept("macro_f1", evaluations((0.5, 0.1), (0.6, 0.9), (0.6, 0.9), (0.5, 0.0))) == [1, 2]


def test_scores_within_one_row_are_equal() -> None:
    course = [f | {"rows": 100} for f in evaluations((0.900, 0.3), (0.895, 0.2), (0.891, 0.1), (0.889, 0.05))]
    assert kept("macro_f1", course) == [1, 2, 3]  # 0.889 is more than one row below the best score, that of the first
    assert kept("macro_f1", [f | {"rows": 100} for f in evaluations((0.900, 0.1), (0.909, 0.2), (0.915, 0.9))]) == [
        1,
        3,
    ]


def test_only_a_better_score_continues_a_run() -> None:
    progress = Progress(best_value=0.9, best_metrics={"valid_loss": 0.3})
    tie, better = {"macro_f1": 0.91, "loss": 0.1, "rows": 50}, {"macro_f1": 0.93, "loss": 0.4, "rows": 50}
    assert selection.improves("macro_f1", tie, 0.5, progress) and not selection.gains("macro_f1", tie, progress)
    assert selection.improves("macro_f1", better, 0.5, progress) and selection.gains("macro_f1", better, progress)
    assert selection.gains("last", better, progress) and selection.gains("loss", better, Progress())
    assert not selection.gains("loss", better, Progress(best_value=0.4))


def test_by_loss() -> None:
    assert kept("loss", evaluations((0.5, 0.9), (1.0, 0.8), (1.0, 0.8), (0.2, 0.1))) == [1, 2, 4]


def test_the_last_step_wins_with_few_checkpoints_on_the_way() -> None:
    course = evaluations(*((1.0 - number / 100, 0.01 * number) for number in range(40)))
    assert kept("last", course) == [1, 8, 16, 24, 32, 40]


def test_a_point_without_a_loss_keeps_its_checkpoint_on_a_tie() -> None:
    progress = Progress(best_value=1.0, best_step=3)
    assert not selection.improves("macro_f1", {"macro_f1": 1.0, "loss": 0.0}, 0.5, progress)


@pytest.mark.parametrize("rule", ["macro_f1", "last"])
def test_the_loop_keeps_by_the_rule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: str) -> None:
    losses = iter([0.687, 0.4, 0.2, 0.3])
    figures = {"macro_f1": 1.0, "accuracy": 1.0, "rows": 2}
    monkeypatch.setattr(loop, "evaluate", lambda *_: figures | {"loss": next(losses)})
    trained = build_loop(
        runs.make(tmp_path, "rows.csv", runs.table(40), "gru", training={"max_steps": 8, "width": 8}),
        metric=rule,
        eval_every=2,
    )
    trained.training.run()
    assert trained.training.progress.best_step == {"macro_f1": 6, "last": 8}[rule]


MESSAGES = {
    "delivery": ["where is my parcel", "my parcel has not arrived", "the parcel came to the wrong house"],
    "billing": ["i was charged twice", "please send me the invoice", "the invoice has the wrong amount"],
}


@pytest.mark.parametrize("architecture", ["lstm", "gru", "rnn", "transformer"])
@pytest.mark.parametrize("copies", [2, 5])
def test_a_handful_of_messages_trains_a_model_that_has_learned_them(
    tmp_path: Path, architecture: str, copies: int
) -> None:
    rows = [f"{text} {k},{label}" for k in range(copies) for label, texts in MESSAGES.items() for text in texts]
    run = runs.make(tmp_path, "messages.csv", "\n".join(["text,label", *rows, ""]), architecture)
    events = runs.train(run)
    metrics = json.loads((run / "checkpoint" / "metrics.json").read_text())["validation"]
    assert runs.settled(run)["metric"] == "last"
    assert metrics["loss"] < 0.35, "a model that guesses has 0.69"
    assert metrics["rows"] == 2 if copies == 2 else metrics["rows"] < 10
    (few,) = [event for event in events if isinstance(event, Note) and event.kind == "few_validation_rows"]
    assert few.level == "warn" and f"{metrics['rows']} rows: too few for meaningful metrics" in few.message
    card = (run / "checkpoint" / "README.md").read_text()
    assert f"{metrics['rows']} rows: too few for meaningful metrics" in card and "| accuracy | 1.0000" not in card
    assert "the last step" in card
