"""Searching versions by their properties and metrics, and comparing their metrics."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import InvalidRequest, NotFound
from app.registry.search import Filter
from app.registry.service import Registry
from tests.checkpoints import make_checkpoint, publish


@pytest.fixture
def shelf(registry: Registry, tmp_path: Path) -> Registry:
    lstm = make_checkpoint(tmp_path / "lstm")
    text = make_checkpoint(tmp_path / "gru", architecture="gru", task="generation", classes=None)
    publish(registry, lstm, "mood", metrics={"test": {"accuracy": 0.7, "loss": 0.9}}, alias="champion")
    publish(registry, lstm, "mood", metrics={"test": {"accuracy": 0.9, "loss": 0.4}, "note": "x"})
    publish(registry, lstm, "topic", metrics={"test": {"accuracy": 0.8}})
    publish(registry, text, "story", metrics={"test": {"loss": 1.5}})
    publish(registry, lstm, "secret", owner="bob", metrics={"test": {"accuracy": 1.0}})
    return registry


@pytest.mark.parametrize(
    ("filter_", "refs"),
    [
        (Filter(), ["story:1", "topic:1", "mood:2", "mood:1"]),
        (Filter(order="asc"), ["mood:1", "mood:2", "topic:1", "story:1"]),
        (Filter(metric="test.accuracy"), ["mood:2", "topic:1", "mood:1"]),
        (Filter(metric="test.accuracy", minimum=0.75, maximum=0.85), ["topic:1"]),
        (Filter(metric="test.loss"), ["mood:2", "mood:1", "story:1"]),
        (Filter(metric="test.loss", order="desc"), ["story:1", "mood:1", "mood:2"]),
        (Filter(metric="note"), []),
        (Filter(task="generation"), ["story:1"]),
        (Filter(architecture="gru"), ["story:1"]),
        (Filter(alias="champion"), ["mood:1"]),
        (Filter(query="OO"), ["mood:2", "mood:1"]),
        (Filter(query="_"), []),
        (Filter(status="deleted"), []),
    ],
)
def test_matching_versions_are_returned_in_order(shelf: Registry, filter_: Filter, refs: list[str]) -> None:
    page = shelf.search("alice", filter_)
    assert ([v.ref for v in page.items], page.has_more) == (refs, False)


def test_a_page_begins_after_the_last_one(shelf: Registry) -> None:
    by_accuracy = Filter(metric="test.accuracy")
    first = shelf.search("alice", by_accuracy, limit=2)
    assert ([v.ref for v in first.items], first.has_more) == (["mood:2", "topic:1"], True)
    second = shelf.search("alice", by_accuracy, limit=2, after="topic:1")
    assert ([v.ref for v in second.items], second.has_more) == (["mood:1"], False)
    with pytest.raises(NotFound):
        shelf.search("alice", by_accuracy, after="secret:1")


def test_a_search_returns_only_visible_versions(shelf: Registry) -> None:
    assert [v.ref for v in shelf.search("bob", Filter()).items] == ["secret:1"]
    assert len(shelf.search("local", Filter()).items) == 5


@pytest.mark.parametrize("metric", ["", "test.", "a b", "'; drop", "a[0]", "\0"])
def test_a_metric_must_be_a_path(metric: str) -> None:
    with pytest.raises(InvalidRequest):
        Filter(metric=metric)


def test_bounds_without_a_metric_and_invalid_queries_are_refused() -> None:
    with pytest.raises(InvalidRequest):
        Filter(minimum=1.0)
    with pytest.raises(InvalidRequest):
        Filter(query="a\0b")


def test_versions_are_compared(shelf: Registry) -> None:
    comparison = shelf.compare(["mood:1", "mood:2", "topic"], "alice")
    assert [v.ref for v in comparison.versions] == ["mood:1", "mood:2", "topic:1"]
    assert comparison.figures == {"test.accuracy": [0.7, 0.9, 0.8], "test.loss": [0.9, 0.4, None]}
    assert comparison.best == {"test.accuracy": 1, "test.loss": 1}
    with pytest.raises(NotFound):
        shelf.compare(["mood", "secret"], "alice")


def test_only_metrics_with_a_direction_have_a_best_version(registry: Registry, tmp_path: Path) -> None:
    for number, figures in enumerate(({"support": 3, "mae": 2.0, "r2": 0.5}, {"support": 9, "mae": 1.0})):
        publish(registry, make_checkpoint(tmp_path / str(number)), "mood", metrics={"test": figures})
    assert registry.compare(["mood:1", "mood:2"], "alice").best == {"test.mae": 1}
