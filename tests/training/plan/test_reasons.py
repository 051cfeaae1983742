"""The reasons for the options of a run: a sentence explains each value, and options without an effect are left out."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.training import base
from app.training.plan import reasons
from app.training.plan.config import check, settle
from app.training.run.preparation import load_or_prepare
from app.wire.estimate import TrainingChoice
from app.wire.trainer import Done, TrainSpec
from app.wire.training_options import TrainingOptions
from tests.training import runs
from tests.training.loops import ready

ROWS, BOOK = ("rows.csv", runs.table(500)), ("book.txt", runs.book(300))
NUMBERS = (
    "numbers.jsonl",
    "".join(f'{{"features": [[{n % 7}, 0.5], [{n}, 2]], "label": "{"ab"[n % 2]}"}}\n' for n in range(60)),
)
SENTENCE = re.compile(r"[A-Z].*\.")


def choices(run: Path, file: tuple[str, str], model: str, **training: Any) -> dict[str, TrainingChoice]:
    spec, dataset = ready(runs.make(run, *file, model, training=training))
    settled = settle(spec, dataset, None, "cpu", 3)
    made = {choice.option: choice for choice in reasons.choices(spec, settled, dataset, None)}
    # A request with the listed values as options leads to the same run.
    own = {name: choice.value for name, choice in made.items() if choice.value not in (reasons.NONE, "set")}
    for name, value in own.items():
        options = msgspec.convert({name: value}, TrainingOptions)
        check(msgspec.structs.replace(spec, training=options), None, dataset.facts)
    return made


@pytest.mark.parametrize("model", ["linear", "gru", "transformer"])
@pytest.mark.parametrize("file", [ROWS, BOOK, NUMBERS], ids=lambda file: file[0])
def test_every_choice_has_a_reason(tmp_path: Path, file: tuple[str, str], model: str) -> None:
    if model == "linear" and file is not ROWS:
        return
    made = choices(tmp_path, file, model, epochs=2.0)
    assert all(SENTENCE.fullmatch(choice.reason) for choice in made.values()), made
    assert [name for name, choice in made.items() if choice.requested] == ["epochs", "baseline"]
    assert (made["epochs"].value, made["epochs"].reason) == (2.0, "Set in the request.")
    assert {"max_steps", "batch_size", "learning_rate", "eval_every", "threads"} < made.keys()
    assert ("layers" in made) == (model != "linear") and ("heads" in made) == (model == "transformer")
    assert ("vocab_size" in made) == (file is not NUMBERS) and ("pooling" in made) == (
        model != "linear" and file is not BOOK
    )


def test_a_reason_states_the_data_that_it_depends_on(tmp_path: Path) -> None:
    made = choices(tmp_path, ROWS, "gru")
    assert "450 rows with " in made["epochs"].reason and "usually ends earlier" in made["epochs"].reason
    assert (made["schedule"].value, made["patience"].value) == ("plateau", 2)
    assert "no longer improves" in made["schedule"].reason
    assert made["ngrams"].value is True and made["bidirectional"].value is True


def test_all_options_have_a_reason_but_those_that_describe_no_choice() -> None:
    """The options without a reason are off unless they are requested, or another option shows their effect."""
    without = {"kv_heads", "lora", "learning_rate_multiplier", "encoding", "skip_bad_rows"}
    assert {*reasons.OPTIONS} == {*TrainingOptions.__struct_fields__} - without


def test_what_a_version_to_fine_tune_determines(tmp_path: Path) -> None:
    small = {"max_steps": 2, "width": 16}
    first, second = tmp_path / "first", runs.make(tmp_path / "second", *ROWS, "base", training={"head_only": False})
    assert isinstance(runs.train(runs.make(first, *ROWS, "gru", training=small))[-1], Done)
    shutil.copytree(first / "checkpoint", second / "base")
    spec = msgspec.json.decode((second / "run.json").read_bytes(), type=TrainSpec)
    version = base.find(second, spec)
    dataset = load_or_prepare(second, spec, version, lambda: None)
    settled = settle(spec, dataset, version, "cpu", 3)
    made = {choice.option: choice for choice in reasons.choices(spec, settled, dataset, version)}
    assert (made["width"].value, made["width"].reason) == (16, reasons.INHERITED)
    assert made["tokenizer"].reason == made["dropout"].reason == reasons.INHERITED
    assert "already trained" in made["learning_rate"].reason
    assert (made["head_only"].value, made["head_only"].requested) == (False, True)
