"""What is settled from the request and the data where the request leaves it open."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.training.failures import BadOption
from app.training.plan.config import Settled, settle
from tests.training import runs
from tests.training.loops import ready

ROWS, BOOK = ("rows.csv", runs.table(60) + "plain grey,good\n" * 20), ("book.txt", runs.book(60))


def plan(run: Path, file: tuple[str, str] = ROWS, device: str = "cpu", **training: Any) -> Settled:
    spec, dataset = ready(runs.make(run, *file, "gru", training=training))
    return settle(spec, dataset, None, device, 3)


def test_the_request_s_limits_and_the_sooner_of_two(tmp_path: Path) -> None:
    assert plan(tmp_path / "steps", max_steps=5, epochs=9.0, batch_size=16).total_steps == 5
    assert plan(tmp_path / "epochs", max_steps=50, epochs=2.0, batch_size=16).total_steps == 10
    assert plan(tmp_path / "accumulation", epochs=2.0, batch_size=8, accumulation=2).total_steps == 10
    limited = plan(tmp_path / "seconds", max_seconds=9.0)
    assert (limited.total_steps, limited.max_seconds, limited.eval_every) == (None, 9.0, None)


def test_training_stops_early_only_where_the_request_sets_no_length(tmp_path: Path) -> None:
    assert plan(tmp_path / "default").patience == 5
    assert plan(tmp_path / "epochs", epochs=3.0).patience == 0
    assert plan(tmp_path / "patience", epochs=3.0, patience=2).patience == 2
    assert plan(tmp_path / "text", BOOK).patience == 0


def test_evaluations_come_every_epoch_or_every_tenth_of_a_text(tmp_path: Path) -> None:
    rows = plan(tmp_path / "rows", epochs=4.0, batch_size=16)
    assert (rows.total_steps, rows.eval_every, rows.metric) == (20, 5, "macro_f1")
    assert plan(tmp_path / "many", epochs=100.0, batch_size=16).eval_every == 25
    text = plan(tmp_path / "text", BOOK, max_steps=40)
    assert (text.eval_every, text.metric) == (4, "loss")


def test_class_weights(tmp_path: Path) -> None:
    counts = ready(runs.make(tmp_path / "data", *ROWS, "gru"))[1].facts.label_counts
    balanced = plan(tmp_path / "balanced", class_weights="balanced").class_weights
    assert balanced is not None and balanced[0] > 1.0 > balanced[1]
    assert [weight * count for weight, count in zip(balanced, counts, strict=True)] == pytest.approx(
        [sum(counts) / 2] * 2
    )
    assert plan(tmp_path / "some", class_weights={"good": 3.0}).class_weights == [1.0, 3.0]
    with pytest.raises(BadOption, match=r"no row has the label 'fine'; the labels are 'bad', 'good'"):
        plan(tmp_path / "unknown", class_weights={"fine": 3.0})


def test_threads_and_precision_are_the_machine_s_unless_the_request_names_them(tmp_path: Path) -> None:
    default = plan(tmp_path / "default", BOOK, device="cuda")
    assert (default.threads, default.precision, default.device) == (3, "bfloat16", "cuda")
    named = plan(tmp_path / "named", BOOK, device="cuda", threads=1, precision="float32")
    assert (named.threads, named.precision) == (1, "float32")
    assert plan(tmp_path / "rows", device="cuda").precision == "float32"
    assert Settled(**default.to_dict()) == default
