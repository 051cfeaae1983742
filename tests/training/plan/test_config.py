"""The settings that are chosen automatically from the request and the data."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from app.training.failures import BadOption
from app.training.plan.config import Settled, settle
from app.wire.training_options import TrainingOptions
from tests.training import runs
from tests.training.loops import ready

ROWS, BOOK = ("rows.csv", runs.table(60) + "plain grey,good\n" * 20), ("book.txt", runs.book(60))
MANY = "many.csv", runs.table(500)


GUIDE = Path(__file__).parents[3] / "docs" / "classification.md"


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
    default = plan(tmp_path / "default", MANY)
    assert (default.patience, default.schedule, default.optimizer) == (2, "plateau", "muon")
    epochs = plan(tmp_path / "epochs", MANY, epochs=3.0)
    assert (epochs.patience, epochs.schedule) == (0, "cosine")
    patient = plan(tmp_path / "patience", MANY, patience=3)
    assert (patient.patience, patient.schedule) == (3, "cosine")
    assert plan(tmp_path / "text", BOOK).patience == 0


def test_few_held_out_rows_choose_no_checkpoint_and_stop_no_training(tmp_path: Path) -> None:
    few = plan(tmp_path / "few")
    assert (few.metric, few.patience) == ("last", 0)
    many = plan(tmp_path / "many", MANY)
    assert (many.metric, many.patience) == ("macro_f1", 2)
    asked = plan(tmp_path / "asked", patience=2)
    assert (asked.metric, asked.patience) == ("macro_f1", 2)
    assert plan(tmp_path / "text", BOOK).metric == "loss"
    values = "text,value\n" + "".join(f"{text},{number}\n" for number, (text, _) in enumerate(runs.sentences(60)))
    assert plan(tmp_path / "values", ("values.csv", values)).metric == "last"


@pytest.mark.parametrize("rows", [4, 16, 50, 150])
def test_small_data_is_trained_for_enough_steps(tmp_path: Path, rows: int) -> None:
    assert (plan(tmp_path, ("rows.csv", runs.table(rows))).total_steps or 0) >= 150


def test_evaluations_come_every_epoch_or_every_tenth_of_a_text(tmp_path: Path) -> None:
    rows = plan(tmp_path / "rows", epochs=4.0, batch_size=16)
    assert (rows.total_steps, rows.eval_every) == (20, 5)
    assert plan(tmp_path / "many", epochs=100.0, batch_size=16).eval_every == 25
    text = plan(tmp_path / "text", BOOK, max_steps=40)
    assert (text.eval_every, text.metric) == (4, "loss")


def test_the_few_longest_rows_are_cut(tmp_path: Path) -> None:
    long = "text,label\n" + "".join(
        f"{n} {' '.join(['grey geese'] * (10 + (n % 5 == 0) * 200))},{n % 2}\n" for n in range(20)
    )
    default = plan(tmp_path / "long", ("rows.csv", long), vocab_size=259)
    assert 128 < default.row_limit < default.config.context_length and default.balanced
    asked = plan(tmp_path / "asked", ("rows.csv", long), vocab_size=259, context_length=64, batch_size=4)
    assert (asked.row_limit, asked.config.context_length, asked.balanced) == (0, 64, False)
    assert plan(tmp_path / "text", BOOK).row_limit == 0


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


def test_the_guide_explains_each_value_that_no_option_sets() -> None:
    """Clients see every scalar value in the `hyperparameters` of a job, so the guide must explain each of them."""
    hidden = {"model", "class_weights", "digests", "seed"}  # not scalars; the seed is a field of the job
    chosen = {field.name for field in dataclasses.fields(Settled)} - hidden - {*TrainingOptions.__struct_fields__}
    guide = GUIDE.read_text(encoding="utf-8")
    assert [name for name in sorted(chosen) if f"| `{name}` |" not in guide] == []
