"""Every dialect that returns scores limits the size of a reply, and builds large replies in a worker thread."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from typing import Any

import pytest

from app.api.http import large_replies
from app.inference import scoring
from app.settings import Settings
from app.wire import engine as wire
from tests.fakes import FakeEngine
from tests.serving import Api, Shelf, engine_of

LABELS = tuple(f"label-{i:04}" for i in range(2_500))
MOST = large_replies.LARGEST // len(LABELS)  # the largest number of texts in a request


def tensor(texts: list[str]) -> dict[str, Any]:
    return {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [len(texts)], "data": texts}]}


DIALECTS: dict[str, Any] = {
    "/predict?model=many": lambda texts: {"inputs": [[text] for text in texts]},
    "/models/many": lambda texts: {"inputs": texts},
    "/predictions/many": lambda texts: texts,
    "/v2/models/many/infer": tensor,
    "/v1/classify": lambda texts: {"model": "many", "input": texts, "probs": False, "top_k": len(LABELS)},
    "/v1/moderations": lambda texts: {"model": "many", "input": texts},
}


@pytest.fixture
def engine(settings: Settings) -> Iterator[FakeEngine]:
    with engine_of(settings, classes=len(LABELS)) as fake:
        fake.pid = os.getpid()  # scores of many labels take a while on a busy machine; the fake is not dead then
        yield fake


@pytest.mark.parametrize("path", DIALECTS)
def test_a_reply_that_is_too_large_is_refused_before_the_engine_works(
    api: Api, shelf: Shelf, engine: FakeEngine, path: str
) -> None:
    shelf.classifier("many", task="multilabel", labels=LABELS)
    with api.client() as client:
        reply = client.post(path, json=DIALECTS[path](["a"] * (MOST + 1)))
    assert 400 <= reply.status_code < 500 and "1,000,000" in reply.text, reply.text
    assert not [message for message in engine.received if isinstance(message, wire.Score)]


@pytest.mark.parametrize("path", DIALECTS)
def test_a_large_reply_is_built_in_a_thread(api: Api, shelf: Shelf, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    shelf.classifier("many", task="multilabel", labels=LABELS)
    on_the_loop = []
    sigmoid = scoring.sigmoid

    def watched(logits: Any) -> list[float]:
        try:
            asyncio.get_running_loop()
            on_the_loop.append(True)
        except RuntimeError:
            on_the_loop.append(False)
        return sigmoid(logits)

    monkeypatch.setattr(scoring, "sigmoid", watched)
    with api.client() as client:
        reply = client.post(path, json=DIALECTS[path](["a", "b"]))
    assert reply.status_code == 200, reply.text
    assert on_the_loop == [False, False]
    assert LABELS[-1] in reply.text or path.startswith("/v2")  # /v2 does not send labels
