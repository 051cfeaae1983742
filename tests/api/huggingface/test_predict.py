"""TEI's `/predict`: flat lists for one input, nested ones for several; two texts in a list are a pair."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fakes import FakeEngine
from tests.serving import LABELS, Api, Shelf


@pytest.mark.parametrize(
    ("inputs", "lists", "sequences"),
    [("a", 0, 1), (["a", "b"], 0, 1), ([["a"], ["b"], ["a", "b"]], 3, 3), ([["a"]], 1, 1), (["a"], 0, 1)],
)
def test_the_form_of_the_reply(
    api: Api, shelf: Shelf, engine: FakeEngine, inputs: Any, lists: int, sequences: int
) -> None:
    shelf.classifier()
    with api.client() as client:
        reply = client.post("/predict?model=mood", json={"inputs": inputs}).json()
    rows = reply if lists else [reply]
    assert len(rows) == max(1, lists) and len(engine.received[-1].sequences) == sequences  # type: ignore[union-attr]
    for row in rows:
        assert {entry["label"] for entry in row} == set(LABELS)
        assert sum(entry["score"] for entry in row) == pytest.approx(1)
        assert [entry["score"] for entry in row] == sorted((entry["score"] for entry in row), reverse=True)


def test_raw_scores_and_truncation(api: Api, shelf: Shelf) -> None:
    shelf.classifier()
    with api.client() as client:
        raw = client.post("/predict?model=mood", json={"inputs": "a", "raw_scores": True}).json()
        assert sum(entry["score"] for entry in raw) != pytest.approx(1)
        long = client.post("/predict?model=mood", json={"inputs": "a" * 99})
        assert long.status_code == 422 and "truncate: true" in long.json()["error"]
        cut = {"inputs": "a" * 99, "truncate": True, "truncation_direction": "Left"}
        assert client.post("/predict?model=mood", json=cut).headers["x-prompt-tokens"] == "64"
        assert client.post("/predict?model=mood", json={"inputs": [["a", "b", "c"]]}).status_code == 422
