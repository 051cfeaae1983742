"""Every training option has an effect: it is settled as requested, and changes the trained weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from app.wire.trainer import Done
from app.wire.training_options import TrainingOptions
from tests.training import runs
from tests.training.loops import Loop, run_loop

SMALL = {"width": 16, "layers": 1, "max_steps": 6, "batch_size": 16, "eval_every": 3, "precision": "float32"}
ROWS = "rows.csv", runs.table(60) + "plain grey,good\n" * 20
BOOK = "book.txt", runs.book(60)
# option: value, data file, architecture, other options, settled values (by default the option itself)
CASES: dict[str, tuple[Any, tuple[str, str], str, dict[str, Any], dict[str, Any]]] = {
    "batch_size": (8, ROWS, "gru", {}, {}),
    "accumulation": (2, ROWS, "gru", {}, {}),
    "learning_rate": (0.02, ROWS, "gru", {}, {}),
    "learning_rate_multiplier": (3.0, ROWS, "gru", {"learning_rate": 0.01}, {"learning_rate": 0.03}),
    "schedule": ("constant", ROWS, "gru", {}, {}),
    "warmup_ratio": (0.5, ROWS, "gru", {}, {}),
    "weight_decay": (0.9, ROWS, "gru", {}, {}),
    "max_grad_norm": (0.01, ROWS, "gru", {}, {}),
    "dropout": (0.7, ROWS, "gru", {}, {"model.dropout": 0.7}),
    "label_smoothing": (0.3, ROWS, "gru", {}, {}),
    "class_weights": ({"good": 5.0}, ROWS, "gru", {}, {"class_weights": [1.0, 5.0]}),
    "optimizer": ("sgd", ROWS, "gru", {}, {}),
    "layers": (2, ROWS, "gru", {}, {"model.layers": 2}),
    "width": (24, ROWS, "gru", {}, {"model.width": 24}),
    "heads": (2, ROWS, "transformer", {}, {"model.heads": 2}),
    "kv_heads": (2, ROWS, "transformer", {"heads": 4}, {"model.kv_heads": 2}),
    "context_length": (4, BOOK, "gru", {}, {"model.context_length": 4, "window": 4}),
    "vocab_size": (300, ROWS, "gru", {}, {"model.vocab_size": 300}),
    "tokenizer": ("byte", ROWS, "gru", {}, {"model.vocab_size": 259}),
    "pooling": ("attention", ROWS, "gru", {}, {"model.pooling": "attention"}),
    "bidirectional": (False, ROWS, "gru", {}, {"model.bidirectional": False}),
    "ngrams": (False, ROWS, "gru", {}, {"model.ngram_buckets": None}),
    "precision": ("bfloat16", ROWS, "transformer", {}, {}),
    "max_steps": (3, ROWS, "gru", {}, {"total_steps": 3}),
    "epochs": (2.0, ROWS, "gru", {"max_steps": None}, {"total_steps": 10}),
    "max_seconds": (1e-4, ROWS, "gru", {}, {}),
    "patience": (1, ROWS, "gru", {"eval_every": 1, "max_steps": 12, "learning_rate": 0.5}, {}),
    "eval_every": (2, ROWS, "gru", {}, {}),
}
BY_THE_PROGRAM = {"threads", "deterministic"}  # set for the whole process
IN_FINE_TUNING = {"head_only", "lora"}  # tests/contracts/training/test_fine_tuning.py, test_low_rank.py
OF_THE_DATA = {"encoding", "skip_bad_rows"}  # tests/training/data/test_encoding.py, test_faults.py
OF_THE_RUN = {"baseline"}  # tests/contracts/training/test_baseline.py
SAME_WEIGHTS = {"eval_every"}  # evaluations do not change weights


def test_every_option_has_a_case() -> None:
    elsewhere = BY_THE_PROGRAM | IN_FINE_TUNING | OF_THE_DATA | OF_THE_RUN
    assert CASES.keys() | elsewhere == set(TrainingOptions.__struct_fields__)


def trained(folder: Path, file: tuple[str, str], model: str, training: dict[str, Any]) -> Loop:
    options = {name: value for name, value in training.items() if value is not None}
    return run_loop(runs.make(folder, *file, model, training=options))


@pytest.mark.parametrize("option", CASES)
def test_an_option_has_an_effect(option: str, tmp_path: Path) -> None:
    value, file, model, more, expected = CASES[option]
    without = trained(tmp_path / "without", file, model, SMALL | {option: None} | more)
    changed = trained(tmp_path / "with", file, model, SMALL | more | {option: value})
    after, before = (loop.settled.to_dict() for loop in (changed, without))
    for name, settled in (expected or {option: value}).items():
        place, _, field = name.rpartition(".")
        assert (after[place] if place else after).get(field) == settled, name
        assert (before[place] if place else before).get(field) != settled, name
    same = changed.weights.shape == without.weights.shape and torch.equal(changed.weights, without.weights)
    assert same == (option in SAME_WEIGHTS)


def test_each_limit_ends_the_training(tmp_path: Path) -> None:
    def steps(name: str, **training: Any) -> int:
        return trained(tmp_path / name, ROWS, "gru", SMALL | training).training.progress.step

    assert steps("steps", max_steps=5) == 5
    assert steps("epochs", max_steps=None, epochs=0.5) == 2
    assert steps("both", max_steps=7, epochs=0.5) == 2
    assert steps("seconds", max_steps=100, max_seconds=1e-4) == 1
    assert steps("patience", max_steps=100, patience=2, eval_every=3, learning_rate=1e-12, ngrams=False) in (6, 9)


def test_evaluations_follow_eval_every_and_the_last_step(tmp_path: Path) -> None:
    for every, steps in ((2, [2, 4, 6]), (4, [4, 6])):
        loop = trained(tmp_path / str(every), ROWS, "gru", SMALL | {"eval_every": every})
        assert [event.step for event in loop.metrics if "valid_loss" in event.data] == steps


def test_the_rate_follows_the_schedule(tmp_path: Path) -> None:
    rates = {
        schedule: trained(
            tmp_path / schedule, ROWS, "gru", SMALL | {"schedule": schedule, "warmup_ratio": 0.0, "learning_rate": 0.01}
        ).rates
        for schedule in ("constant", "linear", "cosine")
    }
    assert rates["constant"] == [0.01] * 6
    for schedule in ("linear", "cosine"):
        assert rates[schedule][0] == 0.01 and rates[schedule] == sorted(rates[schedule], reverse=True)
    assert rates["linear"][3] == pytest.approx(0.01 * (0.01 + 0.99 / 2))
    assert rates["cosine"][1] > rates["linear"][1]
    warm = trained(tmp_path / "warm", ROWS, "gru", SMALL | {"warmup_ratio": 1.0, "learning_rate": 0.01}).rates
    assert warm == pytest.approx([0.01 * max(step / 6, 0.01) for step in range(6)])


def test_label_smoothing_applies_to_generation(tmp_path: Path) -> None:
    one, two = (
        trained(tmp_path / str(share), BOOK, "gru", SMALL | {"label_smoothing": share, "context_length": 16})
        for share in (0.0, 0.3)
    )
    assert not torch.equal(one.weights, two.weights)


@pytest.mark.parametrize(("deterministic", "threads"), [(True, 1), (False, 2)])
def test_threads_and_determinism_are_set_for_the_process(
    deterministic: bool, threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}
    monkeypatch.setattr("torch.set_num_threads", lambda n: seen.update(threads=n))
    monkeypatch.setattr("torch.set_deterministic_debug_mode", lambda mode: seen.update(deterministic=mode == "warn"))
    monkeypatch.setattr("app.training.report.plots.draw", lambda *_: None)
    options = {"deterministic": deterministic, "threads": threads}
    run = runs.make(tmp_path, *ROWS, "gru", training=SMALL | options)
    assert isinstance(runs.train(run)[-1], Done)
    assert seen == options
    assert {name: runs.settled(run)[name] for name in options} == options
