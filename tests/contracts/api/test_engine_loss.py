"""Engines that exit, hang or crash on a request: every open request ends, and the service recovers."""

from __future__ import annotations

import asyncio
import os
import threading

import openai
import pytest

from app.inference.versions import ResolvedVersion
from app.settings import Settings
from app.wire import engine as wire
from tests.api.clients import Call, post, stream_error
from tests.fakes import FakeEngine
from tests.promises import IN_TIME
from tests.serving import Api, Shelf, engine_of, wait_until

CLASSIFY = {"model": "mood", "input": "a"}


def test_a_dying_engine_ends_every_open_request(api: Api, shelf: Shelf, engine: FakeEngine) -> None:
    shelf.classifier()
    shelf.generator()
    engine.hold_after = 2
    body = {"model": "echo", "prompt": "abc", "max_tokens": 50}
    with api.client() as client:
        streamed = Call(lambda: post(api, "/v1/completions", {**body, "stream": True}))
        wait_until(lambda: engine.running == 1)
        whole = Call(lambda: post(api, "/v1/completions", body))
        wait_until(lambda: engine.running == 2)
        engine.die()
        assert stream_error(streamed.result(IN_TIME))["code"] == "engine_lost"
        lost = whole.result(IN_TIME)
        assert lost.status_code == 503 and lost.json()["error"]["code"] == "engine_lost"
        assert lost.headers["retry-after"] == "1"
        wait_until(lambda: client.get("/readyz").status_code == 503, IN_TIME)
        assert client.get("/livez").status_code == 200
        refused = client.post("/v1/classify", json=CLASSIFY)
        assert refused.status_code == 503 and refused.headers["retry-after"]


def test_a_new_engine_takes_over(api: Api, shelf: Shelf, settings: Settings, engine: FakeEngine) -> None:
    shelf.classifier()
    with api.client() as client:
        assert client.post("/v1/classify", json=CLASSIFY).status_code == 200
        engine.die()
        wait_until(lambda: not api.services.inference.pool.living, IN_TIME)
        with engine_of(settings) as second:
            wait_until(lambda: client.post("/v1/classify", json=CLASSIFY).status_code == 200)
            assert len(second.wait_for(wire.Load)) == 1


@pytest.mark.parametrize("returns", [True, False])
def test_requests_wait_for_an_engine_that_sends_no_heartbeats_but_runs(
    api: Api, shelf: Shelf, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, returns: bool
) -> None:
    """On a busy machine, heartbeats may be late. An engine counts as dead only after a long time without one."""
    shelf.classifier()
    [client] = api.services.inference.pool.clients.values()
    engine.pid = os.getpid()
    wait_until(lambda: client.heartbeat and client.heartbeat.pid == engine.pid)
    assert post(api, "/v1/classify", CLASSIFY).status_code == 200
    engine.mute()
    wait_until(lambda: client.silent)
    call = Call(lambda: post(api, "/v1/classify", CLASSIFY))
    call.wait(0.1)
    assert not call.done and client.silent
    if returns:
        engine.unmute()
    else:
        monkeypatch.setattr("app.inference.engines.liveness.FROZEN_LIMIT", 0.0)
    reply = call.result()
    assert reply.status_code == (200 if returns else 503)
    assert returns or reply.json()["error"]["code"] == "engine_lost"


def test_requests_wait_for_an_engine_that_sends_no_heartbeats_while_it_loads(
    api: Api, shelf: Shelf, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.classifier()
    [client] = api.services.inference.pool.clients.values()
    load = engine._load
    engine.pid = os.getpid()
    wait_until(lambda: client.heartbeat and client.heartbeat.pid == engine.pid)

    def load_silently(peer: bytes, message: wire.Load) -> None:
        wait_until(lambda: client.silent)  # the fake engine's only thread waits here, so it sends no heartbeats
        load(peer, message)

    monkeypatch.setattr(engine, "_load", load_silently)
    assert post(api, "/v1/classify", CLASSIFY).status_code == 200


def test_an_engine_is_discovered_after_a_scan_that_failed(api: Api, settings: Settings) -> None:
    pool, scanned = api.services.inference.pool, threading.Event()
    scan = pool._scan

    def fail_once() -> None:
        pool._scan = scan  # type: ignore[method-assign]
        scanned.set()
        raise OSError("too many open files")

    pool._scan = fail_once  # type: ignore[method-assign]
    assert scanned.wait(30)
    with engine_of(settings, 1):
        wait_until(lambda: len(pool.living) == 2)


def test_openais_client_raises_when_the_engine_dies_during_a_stream(api: Api, shelf: Shelf, engine: FakeEngine) -> None:
    shelf.generator()
    engine.hold_after = 2
    with openai.OpenAI(base_url=f"{api.url}/v1", api_key="x", max_retries=0) as client:
        stream = client.completions.create(model="echo", prompt="abc", max_tokens=9, stream=True)
        texts = [next(iter(stream)).choices[0].text]
        engine.die()
        with pytest.raises(openai.APIError) as failed:
            texts += [chunk.choices[0].text for chunk in stream]
    assert failed.value.code == "engine_lost"


def test_a_request_that_crashes_an_engine_twice_is_quarantined(
    api: Api, shelf: Shelf, settings: Settings, engine: FakeEngine
) -> None:
    """When a suspect is sent again, it runs alone, so no other request becomes a suspect."""
    shelf.classifier()
    with api.client() as client:

        def classify(text: str) -> Call:
            return Call(lambda: post(api, "/v1/classify", {"model": "mood", "input": text}))

        engine.hold()
        killer, neighbour = classify("killer"), classify("neighbour")
        engine.wait_for(wire.Score, 2)
        engine.die()
        assert (killer.result(IN_TIME).status_code, neighbour.result(IN_TIME).status_code) == (503, 503)
        with engine_of(settings) as second:
            wait_until(lambda: client.get("/readyz").status_code == 200)
            second.hold()
            killer = classify("killer")
            second.wait_for(wire.Score, 1)
            bystander = classify("bystander")  # waits until the suspect has been answered
            second.die()
            assert killer.result(IN_TIME).status_code == 503
            bystander.wait(IN_TIME)
        with engine_of(settings):
            wait_until(lambda: client.get("/readyz").status_code == 200)
            refused = client.post("/v1/classify", json={"model": "mood", "input": "killer"})
            assert refused.status_code == 400 and refused.json()["error"]["code"] == "request_quarantined"
            for text in ("neighbour", "bystander"):
                assert client.post("/v1/classify", json={"model": "mood", "input": text}).status_code == 200


def test_requests_do_not_wait_for_an_engine_that_dies_while_files_are_fetched(
    api: Api, shelf: Shelf, settings: Settings, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.classifier()
    versions, fetching, go = api.services.inference.versions, threading.Event(), threading.Event()
    fetch = versions.load_message

    async def fetch_slowly(version: ResolvedVersion) -> wire.Load:
        fetching.set()
        await asyncio.to_thread(go.wait, 60)
        return await fetch(version)

    monkeypatch.setattr(versions, "load_message", fetch_slowly)
    call = Call(lambda: post(api, "/v1/classify", CLASSIFY))
    assert fetching.wait(30)
    engine.die()
    with api.client() as client:
        wait_until(lambda: client.get("/readyz").status_code == 503, IN_TIME)
        go.set()
        lost = call.result(IN_TIME)
        assert lost.status_code == 503 and lost.json()["error"]["code"] == "engine_lost"
        with engine_of(settings):
            wait_until(lambda: client.get("/readyz").status_code == 200)
            assert client.post("/v1/classify", json=CLASSIFY).status_code == 200
