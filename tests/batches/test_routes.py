"""A request of a batch is answered exactly as the route answers it over HTTP."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import msgspec
import pytest

from app.api.http.services import build_services
from app.batches.routes import BatchRoutes, RouteReply
from app.inference.service import Inference
from app.inference.ticks import tick
from app.settings import Settings
from app.wire import engine as wire
from tests.fakes import FakeEngine
from tests.serving import Api, Shelf

VARIES = re.compile(r'"(id|created|created_at|item_id)":("[^"]*"|\d+)')
QUESTION = {"type": "choice", "instructions": "Mood?", "choices": [{"value": "positive"}, {"value": "negative"}]}
MESSAGES = [{"role": "user", "content": "hello"}]
BODIES: list[tuple[str, dict[str, Any]]] = [
    ("/v1/classify", {"model": "mood", "input": ["good", "bad"]}),
    ("/v1/embeddings", {"model": "mood", "input": "good"}),
    ("/v1/completions", {"model": "echo", "prompt": "again", "max_tokens": 4, "seed": 1}),
    ("/v1/chat/completions", {"model": "echo", "messages": MESSAGES, "max_tokens": 4}),
    ("/v1/responses", {"model": "echo", "input": "hello", "max_output_tokens": 16}),
    ("/v1/moderations", {"model": "flags", "input": "good"}),
    ("/v1/decisions", {"model": "mood", "input": "good", "questions": [QUESTION]}),
    ("/v1/classify", {"model": "mood", "input": []}),
    ("/v1/classify", {"model": "mood", "inputs": "x"}),
    ("/v1/embeddings", {"model": "none", "input": "x"}),
    ("/v1/embeddings", {"model": "theirs", "input": "x"}),
    ("/v1/completions", {"model": "mood", "prompt": "x"}),
    ("/v1/completions", {"model": "echo", "prompt": "x" * 100}),
    ("/v1/completions", {"model": "echo", "prompt": "x", "max_tokens": -1}),
    ("/v1/decisions", {"model": "mood", "input": "good", "questions": []}),
]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return msgspec.structs.replace(settings, api_keys="ann:secret-of-ann", chat_fallback=True, max_body_bytes=5000)


@pytest.fixture
def served(shelf: Shelf, engine: FakeEngine) -> FakeEngine:
    shelf.classifier(owner="ann")
    shelf.generator(owner="ann")
    shelf.classifier("flags", task="multilabel", owner="ann")
    shelf.classifier("theirs", owner="bob")
    return engine


def post_all(settings: Settings, posts: list[tuple[str, bytes]], owner: str = "ann") -> list[RouteReply]:
    """Send bodies to routes in this process, as the batch program does."""

    async def run() -> list[RouteReply]:
        services = build_services(settings, background=True)
        await services.inference.start()
        try:
            routes = BatchRoutes(services, owner)
            async with asyncio.timeout(60):  # until the engine is found
                while not services.inference.pool.living:
                    await tick(0.01)
            return [await routes.post(path, body) for path, body in posts]
        finally:
            await services.close()

    return asyncio.run(run())


def test_bodies_are_answered_as_over_http(api: Api, served: FakeEngine, settings: Settings) -> None:
    replies = post_all(settings, [(path, json.dumps(body).encode()) for path, body in BODIES])
    with api.client("secret-of-ann") as client:
        for (path, body), reply in zip(BODIES, replies, strict=True):
            expected = client.post(path, json=body)
            assert reply.status == expected.status_code, (path, body, reply.body, expected.text)
            assert VARIES.sub("", reply.body.decode()) == VARIES.sub("", expected.text), (path, body)
            assert reply.success == (expected.status_code < 400) and not reply.transient
            assert reply.request_id.startswith("req-")
    assert {reply.status for reply in replies} == {200, 400, 404}


def test_requests_are_sent_to_engines_as_background_requests(api: Api, served: FakeEngine, settings: Settings) -> None:
    post_all(settings, [(path, json.dumps(body).encode()) for path, body in BODIES[:3]])
    kinds = (wire.Score, wire.Embed, wire.Generate)
    sent = [message for message in served.received if isinstance(message, kinds) and message.principal == "ann"]
    assert {type(message) for message in sent} == set(kinds) and all(message.background for message in sent)


def test_a_stream_and_a_long_body_are_refused(served: FakeEngine, settings: Settings) -> None:
    streamed = {"model": "echo", "prompt": "x", "stream": True}
    posts = [json.dumps(streamed).encode(), json.dumps({"model": "echo", "prompt": "x" * 6000}).encode(), b"{"]
    replies = post_all(settings, [("/v1/completions", body) for body in posts])
    assert [reply.status for reply in replies] == [400, 413, 400]
    assert json.loads(replies[0].body)["error"]["param"] == "stream"


def test_what_may_pass_is_transient(served: FakeEngine, settings: Settings) -> None:
    served.refuse_requests = ("unavailable", "later")
    [reply] = post_all(settings, [("/v1/classify", b'{"model":"mood","input":"x"}')])
    assert (reply.status, reply.transient, reply.delayed) == (503, True, False)
    served.refuse_requests = ("engine_lost", "later")
    [reply] = post_all(settings, [("/v1/classify", b'{"model":"mood","input":"x"}')])
    assert reply.transient and reply.delayed


def test_an_unexpected_error_becomes_a_reply(
    served: FakeEngine, settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Inference, "embed", fail)
    [reply] = post_all(settings, [("/v1/embeddings", b'{"model":"mood","input":"x"}')])
    assert reply.status == 500 and reply.request_id in reply.body.decode()
