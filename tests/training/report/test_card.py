"""The model card."""

from __future__ import annotations

from app.training.prepare.dataset import Facts
from app.training.report.card import write
from app.wire.trainer import DataFile, TrainSpec
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
    assert "| accuracy | 0.5000 |" in card and "1,234 parameters" in card
