"""Finding versions by kind and by figure, and comparing them."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import InvalidRequest, NotFound
from app.registry.search import Filter
from app.registry.service import Registry
from tests.checkpoints import make_checkpoint, publish


@pytest.fixture
def filled(registry: Registry, tmp_path: Path) -> Registry:
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
def test_versions_are_found(filled: Registry, filter_: Filter, refs: list[str]) -> None:
    page = filled.search("alice", filter_)
    assert ([v.ref for v in page.items], page.has_more) == (refs, False)


def test_pages_follow_each_other(filled: Registry) -> None:
    by_accuracy = Filter(metric="test.accuracy")
    first = filled.search("alice", by_accuracy, limit=2)
    assert ([v.ref for v in first.items], first.has_more) == (["mood:2", "topic:1"], True)
    second = filled.search("alice", by_accuracy, limit=2, after="topic:1")
    assert ([v.ref for v in second.items], second.has_more) == (["mood:1"], False)
    with pytest.raises(NotFound):
        filled.search("alice", by_accuracy, after="secret:1")


def test_everybody_searches_their_own(filled: Registry) -> None:
    assert [v.ref for v in filled.search("bob", Filter()).items] == ["secret:1"]
    assert len(filled.search("local", Filter()).items) == 5


@pytest.mark.parametrize("metric", ["", "test.", "a b", "'; drop", "a[0]", "\0"])
def test_a_metric_is_a_path(metric: str) -> None:
    with pytest.raises(InvalidRequest):
        Filter(metric=metric)


def test_a_bound_needs_a_metric() -> None:
    with pytest.raises(InvalidRequest):
        Filter(minimum=1.0)
    with pytest.raises(InvalidRequest):
        Filter(query="a\0b")


def test_versions_are_compared(filled: Registry) -> None:
    found = filled.compare(["mood:1", "mood:2", "topic"], "alice")
    assert [v.ref for v in found.versions] == ["mood:1", "mood:2", "topic:1"]
    assert found.figures == {"test.accuracy": [0.7, 0.9, 0.8], "test.loss": [0.9, 0.4, None]}
    assert found.best == {"test.accuracy": 1, "test.loss": 1}
    with pytest.raises(NotFound):
        filled.compare(["mood", "secret"], "alice")


def test_only_what_can_be_better_has_a_best(registry: Registry, tmp_path: Path) -> None:
    for number, figures in enumerate(({"support": 3, "mae": 2.0, "r2": 0.5}, {"support": 9, "mae": 1.0})):
        publish(registry, make_checkpoint(tmp_path / str(number)), "mood", metrics={"test": figures})
    assert registry.compare(["mood:1", "mood:2"], "alice").best == {"test.mae": 1}
