"""`/v1/classify` with many labels: replies without probabilities, and the size limit of a reply."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from app.api.http import large_replies
from app.api.native import classify
from app.inference.engines import client as engine_client
from app.settings import Settings
from app.wire import engine as wire
from tests.fakes import FakeEngine
from tests.serving import Api, Shelf, engine_of

MANY = tuple(f"label-{i:05}" for i in range(10_000))
BODY: dict[str, Any] = {"model": "many", "top_k": 1}


@pytest.fixture
def engine(settings: Settings) -> Iterator[FakeEngine]:
    with engine_of(settings, classes=len(MANY)) as fake:
        fake.pid = os.getpid()  # scores of many labels take a while on a busy machine; the fake is not dead then
        yield fake


def test_probs_can_be_left_out(api: Api, shelf: Shelf) -> None:
    shelf.classifier("many", labels=MANY)
    with api.client() as client:
        whole = client.post("/v1/classify", json={**BODY, "input": ["a", "b"]})
        short = client.post("/v1/classify", json={**BODY, "input": ["a", "b"], "probs": False})
    items = whole.json()["data"]
    assert [len(item.pop("probs")) for item in items] == [len(MANY)] * 2
    assert short.json()["data"] == items
    assert len(short.content) < len(whole.content) / 500


@pytest.mark.parametrize("task", ["multilabel", "regression"])
def test_probs_can_be_left_out_for_every_task(api: Api, shelf: Shelf, task: str) -> None:
    options = {"labels": MANY} if task == "multilabel" else {"labels": (), "classes": 1}
    shelf.classifier("many", task=task, **options)
    body = BODY if task == "multilabel" else {"model": "many"}
    with api.client() as client:
        [item] = client.post("/v1/classify", json={**body, "input": "a", "probs": False}).json()["data"]
        [whole] = client.post("/v1/classify", json={**body, "input": "a"}).json()["data"]
    assert {**item, "probs": whole["probs"]} == whole and "probs" not in item


def test_a_reply_that_is_too_large_is_refused_before_the_engine_works(
    api: Api, shelf: Shelf, engine: FakeEngine
) -> None:
    shelf.classifier("many", labels=MANY)
    refused: list[dict[str, Any]] = [
        {**BODY, "input": ["a"] * 100},  # 100 * (10,000 probabilities + 1 score)
        {"model": "many", "input": ["a"] * 51},
        {"model": "many", "input": ["a"] * 101, "probs": False},
        {**BODY, "input": ["a"] * 300, "probs": False, "top_k": 4000},
    ]
    with api.client() as client:
        for body in refused:
            error = client.post("/v1/classify", json=body).json()["error"]
            assert (error["code"], error["param"]) == ("reply_too_large", "input"), body
            assert "probs: false" in error["message"] and "1,000,000" in error["message"]
        assert not [message for message in engine.received if isinstance(message, wire.Score)]
        reply = client.post("/v1/classify", json={**BODY, "input": ["a"] * 101, "probs": False})
    assert reply.status_code == 200 and len(reply.content) < 100_000


def test_large_scores_are_decoded_in_a_thread(api: Api, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine's answer for many texts with many labels is large even if the reply contains no probabilities."""
    shelf.classifier("many", labels=MANY)
    threads: list[threading.Thread] = []
    rows = wire.PackedScored.rows

    def note_thread(answer: wire.PackedScored) -> list[list[float]]:
        threads.append(threading.current_thread())
        with pytest.raises(RuntimeError):  # no event loop runs in this thread
            asyncio.get_running_loop()
        return rows(answer)

    monkeypatch.setattr(wire.PackedScored, "rows", note_thread)
    texts = [f"text {i}" for i in range(30)]
    with api.client() as client:
        many = client.post("/v1/classify", json={**BODY, "input": texts, "probs": False}).json()["data"]
        assert len(threads) == 1
        for i in (0, 7, 29):
            [one] = client.post("/v1/classify", json={**BODY, "input": texts[i], "probs": False}).json()["data"]
            assert {**one, "index": i} == many[i]
        assert len(threads) == 1
    assert 30 * len(MANY) * 9 >= engine_client.LARGE


def test_packed_scores_are_the_scores() -> None:
    scored = wire.Scored("a", [[0.5, -1.25], [3.0, 0.125]], wire.Timing(1.0, 2.0))
    packed = msgspec.msgpack.decode(msgspec.msgpack.encode(scored), type=wire.LargeFromEngine)
    assert isinstance(packed, wire.PackedScored)
    assert (packed.id, packed.rows(), packed.timing) == ("a", scored.scores, scored.timing)


def test_the_bound_is_documented() -> None:
    assert f"{large_replies.LARGEST:,}" in str(classify.ClassifyRequest.__doc__)
    assert "in the order of `labels`" in json.dumps(classify.ClassificationItem.__doc__).replace("\\n    ", " ")
