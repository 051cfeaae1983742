"""The time limit of a training run, and the figures that it reports."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from app.training.loop.evaluate import evaluate
from app.training.plan import config
from app.wire.trainer import Done, Metrics, TrainFailed
from tests.training import runs
from tests.training.loops import run_loop

SMALL = {"width": 16, "layers": 1, "batch_size": 16, "precision": "float32"}


class Clock:
    """A clock that advances by `tick` seconds each time that it is read."""

    def __init__(self, tick: float) -> None:
        self.now, self.tick = 100.0, tick

    def __call__(self) -> float:
        self.now += self.tick
        return self.now


@pytest.mark.parametrize(
    ("slow", "eval_every", "steps"),
    [("saving", 1000, 4), ("saving", 1, 2), ("evaluating", 1, 4), ("reporting", 1000, 20)],
)
def test_a_time_limit_counts_whatever_takes_time(
    slow: str, eval_every: int, steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call of the slow part takes ten seconds, so the fourth call exceeds the limit of 35 seconds.

    Every fifth step is reported.
    """
    clock = Clock(1e-6)

    def slowed(function: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object) -> object:
            clock.now += 10.0
            return function(*arguments)

        return call

    if slow == "reporting":
        monkeypatch.setattr(runs.Heard, "emit", slowed(runs.Heard.emit))
    if slow == "evaluating":
        monkeypatch.setattr("app.training.loop.loop.evaluate", slowed(evaluate))
    training = {**SMALL, "max_seconds": 35.0, "eval_every": eval_every}
    run = runs.make(tmp_path, "rows.csv", runs.table(60), "gru", training=training)
    loop = run_loop(run, clock, slowed(lambda: None) if slow == "saving" else lambda: None)
    assert loop.training.progress.step == steps
    assert 35.0 <= loop.training.progress.elapsed < 60.0


def test_figures_over_all_held_out_data_come_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "_EVAL_TOKENS", 50)
    training = {**SMALL, "max_steps": 6, "eval_every": 2, "context_length": 16, "batch_size": 4}
    run = runs.make(tmp_path, "book.txt", runs.book(100), "gru", training=training)
    events = runs.train(run)
    done = events[-1]
    assert isinstance(done, Done) and runs.settled(run)["eval_rows"] == 50
    *before, last = [event for event in events if isinstance(event, Metrics)]
    assert not any(event.final or "full_valid_loss" in event.data for event in before)
    assert last.final and last.progress == 1.0 and last.step in (2, 4, 6)
    metrics = done.metrics["validation"]
    assert last.data["full_valid_loss"] == metrics["loss"]
    assert last.data["full_valid_mean_token_accuracy"] == metrics["accuracy"]
    whole = runs.train(runs.make(tmp_path / "rows", "rows.csv", runs.table(60), training=SMALL | {"max_steps": 2}))
    full = [event for event in whole if isinstance(event, Metrics) and "full_valid_loss" in event.data]
    assert full and not any(event.final for event in full)  # here, every evaluation used all data


def test_all_answers_are_learned_and_characters_that_are_cut_off_are_not_counted(tmp_path: Path) -> None:
    """For rows that are longer than the context, the bits per character equal those computed by hand."""
    say = lambda role, text: {"role": role, "content": text}  # noqa: E731
    rows = []
    for n in range(20):
        messages = [say("user", f"a{n % 7}"), say("assistant", "yes"), say("user", "b"), say("assistant", "no" * 30)]
        rows.append({"messages": messages, "split": ("train", "val")[n % 2]})
    training = {**SMALL, "max_steps": 2, "tokenizer": "byte", "context_length": 40}
    content = "\n".join(map(json.dumps, rows))
    run = runs.make(tmp_path, "a.jsonl", content, "gru", training=training)
    done = runs.train(run)[-1]
    assert isinstance(done, Done)
    prompt, second = "user: a0\nassistant:", "\nuser: b\nassistant:"
    # One token of the prompt is kept. The forty after it are " yes", its end, the second prompt, and the rest.
    left = 40 - len(" yes") - 1 - len(second)
    assert len(prompt) > 1 and 0 < left < len(" " + "no" * 30)
    metrics = done.metrics["validation"]
    assert metrics["tokens"] == 10 * (len(" yes") + 1 + left)
    assert metrics["characters"] == 10 * (len(" yes") + left)
    bits = metrics["loss"] * metrics["tokens"] / math.log(2) / metrics["characters"]
    assert metrics["bits_per_character"] == pytest.approx(bits)
    config_json = json.loads((run / "checkpoint" / "config.json").read_text())
    assert "add_generation_prompt" in config_json["chat_template"]


@pytest.mark.parametrize(("module", "step"), [("loop.loop", 2), ("run.completion", 1)])
def test_a_metric_that_is_not_finite_is_a_divergence(
    module: str, step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss of a step is computed before the weights are updated, so only an evaluation shows the effect of the last
    update."""
    figures = [{"loss": 1.0, "accuracy": 0.5}] * (step - 1) + [{"loss": math.nan, "accuracy": 0.5}]
    monkeypatch.setattr(f"app.training.{module}.evaluate", lambda *_: figures.pop(0))
    training = SMALL | {"max_steps": step, "eval_every": 1, "context_length": 16}
    last = runs.train(runs.make(tmp_path, "book.txt", runs.book(60), "gru", training=training))[-1]
    assert isinstance(last, TrainFailed)
    assert (last.code, last.param, last.checkpoint) == ("diverged", "training.learning_rate", "checkpoints/step-1")
    assert last.message.startswith(f"the validation loss at step {step} is nan: the training run has diverged; use a")
