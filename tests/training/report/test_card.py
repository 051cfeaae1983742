"""The model card."""

from __future__ import annotations

import pytest

from app.training.prepare.dataset import Facts
from app.training.report.card import write
from app.wire.trainer import DataFile, TrainSpec
from models.config import ModelConfig
from tests.training.loops import settled


def test_names_from_the_data_cannot_break_the_markdown() -> None:
    evil = "<b>`x`|[a](b)\n"
    facts = Facts(
        task="classification", shape="rows", input="tokens", labels=["good", evil], report={"rows": {"train": 9}}
    )
    spec = TrainSpec("gru", DataFile("inputs/a.csv", evil, "0" * 64), seed=1)
    card = write(spec, settled(), facts, {"test": {"accuracy": 0.5, "loss": 1.0}}, 1234)
    assert not set("<>[") & set(card) and "|[a]" not in card
    assert "`good`, `_b__x___a_(b)_`" in card
    assert "| accuracy | 50.0% |" in card and "1,234 parameters" in card


def test_figures_on_a_few_rows_are_not_shown() -> None:
    facts = Facts(task="classification", shape="rows", input="tokens", labels=["a", "b"])
    spec = TrainSpec("gru", DataFile("inputs/a.csv", "a.csv", "0" * 64), seed=1)
    metrics = {"validation": {"rows": 2, "accuracy": 1.0, "loss": 0.687}, "test": {"rows": 1200, "accuracy": 0.5}}
    card = write(spec, settled(metric="last"), facts, metrics, 1234)
    assert "| rows | 2 | 1,200 |" in card and "| accuracy | – | 50.0% |" in card and "0.687" not in card
    assert "Validation on 2 rows: too few for meaningful metrics." in card and "Test on" not in card
    assert "The weights are those of the last step" in card and "best result" not in card


@pytest.mark.parametrize(("rows", "sentence"), [(1, "- 1 row was cut to 1 token\n"), (2, "- 2 rows were cut to 1 tok")])
def test_rows_that_were_cut_are_counted(rows: int, sentence: str) -> None:
    facts = Facts(task="classification", shape="rows", input="tokens", labels=["a", "b"])
    spec = TrainSpec("gru", DataFile("inputs/a.csv", "a.csv", "0" * 64), seed=1)
    model = settled().model | {"context_length": 1}
    assert sentence in write(spec, settled(model=model, truncated=rows), facts, {}, 9)


@pytest.mark.parametrize(
    ("architecture", "sentence"),
    [("lstm", "An LSTM with 9"), ("rnn", "An RNN with 9"), ("gru", "A GRU with 9"),
     ("transformer", "A Transformer with 9"), ("linear", "A linear model of n-grams with 9")],
)  # fmt: skip
def test_the_network_is_named_with_its_article(architecture: str, sentence: str) -> None:
    facts = Facts(task="classification", shape="rows", input="tokens", labels=["a", "b"])
    spec = TrainSpec(architecture, DataFile("inputs/a.csv", "a.csv", "0" * 64), seed=1)
    branch = {"ngram_buckets": 16, "ngram_words": 1} if architecture == "linear" else {}
    model = ModelConfig(architecture=architecture, task="classification", vocab_size=9, classes=2, width=8, **branch)
    assert f"\n{sentence} parameters, trained" in write(spec, settled(model=model.to_dict()), facts, {}, 9)


def test_a_chat_model_continues_conversations() -> None:
    spec = TrainSpec("gru", DataFile("inputs/a.jsonl", "a.jsonl", "0" * 64), seed=1)
    for template, what in ((None, "text"), ("{{ messages }}", "conversations")):
        facts = Facts(task="generation", shape="completions", input="tokens", chat_template=template)
        assert f"The model continues {what}. Tokenizer" in write(spec, settled(), facts, {}, 9)


def test_a_calibration_error_on_few_rows_is_not_shown() -> None:
    facts = Facts(task="classification", shape="rows", input="tokens", labels=["a", "b"])
    spec = TrainSpec("gru", DataFile("inputs/a.csv", "a.csv", "0" * 64), seed=1)
    metrics = {"validation": {"rows": 95, "accuracy": 0.9, "ece": 0.115}, "test": {"rows": 1200, "ece": 0.021}}
    assert "| calibration error (ECE) | – | 2.1% |" in write(spec, settled(), facts, metrics, 1234)


def test_warnings_about_the_data_are_listed() -> None:
    twins = "a.csv, column 'label': some labels look alike: 'Good' (3 rows), 'good' (5 rows)"
    remarks = [
        {"kind": "look_alike_labels", "message": twins, "level": "warn", "where": "", "count": 8},
        {"kind": "labels", "message": "a.csv has 2 labels", "level": "info", "where": "", "count": 2},
        *({"kind": f"k{n}", "message": f"<b>{n} " + "x" * 900, "level": "warn", "where": "", "count": 1}
          for n in range(20)),
    ]  # fmt: skip
    dropped = {"rows": 4, "counts": {"the label is empty": 4}, "places": {}}
    report = {"rows": {"train": 9}, "remarks": remarks, "dropped": dropped, "ignored_columns": ["id"]}
    facts = Facts(task="classification", shape="rows", input="tokens", labels=["a", "b"], report=report)
    spec = TrainSpec("gru", DataFile("inputs/a.csv", "a.csv", "0" * 64), seed=1)
    card = write(spec, settled(), facts, {}, 9)
    start, end = card.index("Warnings about the data:"), card.index("## How it was made")
    lines = card[start:end].strip().splitlines()[2:]
    assert lines[0] == "- 4 rows that cannot be used are left out: 4 × the label is empty"
    assert lines[1] == f"- {twins}" and lines[2].startswith("- _b_0 xxx") and "a.csv has 2 labels" not in card
    assert len(lines) == 11 and lines[-1] == "- 12 more warnings, which are in `training.json`"
    assert max(map(len, lines)) <= 302
