"""Labels and confidences of classifications are counted for each version."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

from app.inference.tally import MOST_PENDING, Tally


def version(task: str = "classification", threshold: float = 0.5, ref: str = "mood:1") -> Any:
    record = SimpleNamespace(owner="ann")
    config = SimpleNamespace(task=task)
    return SimpleNamespace(ref=ref, record=record, config=config, labels=("bad", "good"), threshold=threshold)


def test_labels_and_confidence_are_counted_by_version() -> None:
    tally = Tally()
    tally.add(version(), [[0.0, math.log(3)], [2.0, 0.0]])
    tally.add(version(ref="mood:2"), [[0.0, 0.0]])
    taken = tally.take()
    assert (taken["mood:1"].texts, taken["mood:1"].labels, taken["mood:1"].owner) == (2, {"good": 1, "bad": 1}, "ann")
    assert taken["mood:1"].confidence == pytest.approx(0.75 + 1 / (1 + math.exp(-2.0)))
    assert taken["mood:2"].confidence == pytest.approx(0.5)
    assert tally.take() == {}
    tally.add(version(), [[1e4, 1e4], [-1e4, -1e4]])
    assert tally.take()["mood:1"].confidence == pytest.approx(1.0)


def test_each_label_of_a_multilabel_answer_counts_and_numbers_have_none() -> None:
    tally = Tally()
    tally.add(version("multilabel", threshold=0.6), [[5.0, 0.3], [5.0, 5.0]])
    tally.add(version("regression", ref="price:1"), [[12.5]])
    taken = tally.take()
    assert taken["mood:1"].labels == {"bad": 2, "good": 1}
    assert taken["mood:1"].confidence == pytest.approx(2 / (1 + math.exp(-5.0)))
    assert (taken["price:1"].texts, taken["price:1"].labels) == (1, {})


def test_pending_outputs_are_counted_before_they_need_much_memory() -> None:
    tally = Tally()
    for _ in range(3 * MOST_PENDING):
        tally.add(version(), [[0.0, 1.0]])
        assert len(tally._pending) <= MOST_PENDING
    assert tally.take()["mood:1"].texts == 3 * MOST_PENDING
