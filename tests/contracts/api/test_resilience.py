from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import msgspec
import openai
import pytest

from app.checkpoint.directory import FileEntry
from app.inference import readiness, service
from app.inference.versions import Cache, ResolvedVersion
from app.settings import Settings
from app.wire import engine as wire
from tests.fakes import FakeEngine
from tests.promises import IN_TIME, kept
from tests.serving import Api, Shelf, engine_of, wait_until


def in_background(call: Any) -> tuple[threading.Thread, list[Any]]:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(call()), daemon=True)
    thread.start()
    return thread, found


def post(api: Api, path: str, body: dict[str, Any]) -> httpx.Response:
    """On a connection of its own, closed at once."""
    return httpx.post(api.url + path, json=body, timeout=60)


def events(reply: httpx.Response) -> list[str]:
    return [line for line in reply.text.split("\n\n") if line]


def test_a_dying_engine_ends_every_open_request(api: Api, shelf: Shelf, engine: FakeEngine) -> None:
    shelf.classifier()
    shelf.generator()
    engine.hold_after = 2
    with api.client() as client, api.client() as other:
        stream = {"model": "echo", "prompt": "abc", "max_tokens": 50, "stream": True}
        streaming, streamed = in_background(lambda: client.post("/v1/completions", json=stream))
        wait_until(lambda: engine.running == 1)
        waiting, waited = in_background(lambda: other.post("/v1/completions", json={**stream, "stream": False}))
        wait_until(lambda: engine.running == 2)
        engine.die()
        streaming.join(IN_TIME)
        waiting.join(IN_TIME)
        *_, error, done = events(streamed[0])
        assert json.loads(error.removeprefix("data: "))["error"]["code"] == "engine_lost" and done == "data: [DONE]"
        assert waited[0].status_code == 503 and waited[0].json()["error"]["code"] == "engine_lost"
        assert waited[0].headers["retry-after"] == "1"
        wait_until(lambda: client.get("/readyz").status_code == 503, IN_TIME)
        assert client.get("/livez").status_code == 200
        refused = client.post("/v1/classify", json={"model": "mood", "input": "a"})
        assert refused.status_code == 503 and refused.headers["retry-after"]


def test_a_new_engine_takes_over(api: Api, shelf: Shelf, settings: Settings, engine: FakeEngine) -> None:
    shelf.classifier()
    with api.client() as client:
        assert client.post("/v1/classify", json={"model": "mood", "input": "a"}).status_code == 200
        engine.die()
        wait_until(lambda: not api.context.inference.pool.living, IN_TIME)
        with engine_of(settings) as second:
            wait_until(lambda: client.post("/v1/classify", json={"model": "mood", "input": "a"}).status_code == 200)
            assert len(second.wait_for(wire.Load)) == 1


@pytest.mark.parametrize("returns", [True, False])
def test_an_engine_that_is_not_heard_for_a_moment_is_waited_for(
    api: Api, shelf: Shelf, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, returns: bool
) -> None:
    """As on a busy machine: its process is there, so a request is not refused; a frozen one is given up."""
    shelf.classifier()
    [client] = api.context.inference.pool.clients.values()
    body = {"model": "mood", "input": "a"}
    engine.pid = os.getpid()
    wait_until(lambda: client.heartbeat and client.heartbeat.pid == engine.pid)
    assert post(api, "/v1/classify", body).status_code == 200
    engine.mute()
    wait_until(lambda: client.silent)
    thread, found = in_background(lambda: post(api, "/v1/classify", body))
    thread.join(0.1)
    assert not found and client.silent
    if returns:
        engine.unmute()
    else:
        monkeypatch.setattr("app.inference.engines.liveness.FROZEN_LIMIT", 0.0)
    thread.join(30)
    assert found[0].status_code == (200 if returns else 503)
    assert returns or found[0].json()["error"]["code"] == "engine_lost"


def test_an_engine_that_falls_silent_while_it_loads_is_waited_for(
    api: Api, shelf: Shelf, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.classifier()
    [client] = api.context.inference.pool.clients.values()
    load = engine._load
    engine.pid = os.getpid()
    wait_until(lambda: client.heartbeat and client.heartbeat.pid == engine.pid)

    def load_silently(peer: bytes, message: wire.Load) -> None:
        wait_until(lambda: client.silent)  # its one thread sends no heartbeats meanwhile
        load(peer, message)

    monkeypatch.setattr(engine, "_load", load_silently)
    assert post(api, "/v1/classify", {"model": "mood", "input": "a"}).status_code == 200


def test_an_engine_is_found_after_a_scan_that_failed(api: Api, settings: Settings) -> None:
    pool, scanned = api.context.inference.pool, threading.Event()
    scan = pool._scan

    def fails_once() -> None:
        pool._scan = scan  # type: ignore[method-assign]
        scanned.set()
        raise OSError("no descriptor is left")

    pool._scan = fails_once  # type: ignore[method-assign]
    assert scanned.wait(30)
    with engine_of(settings, 1):
        wait_until(lambda: len(pool.living) == 2)


def test_sdk_sees_the_death_of_an_engine_in_a_stream(api: Api, shelf: Shelf, engine: FakeEngine) -> None:
    shelf.generator()
    engine.hold_after = 2
    with openai.OpenAI(base_url=f"{api.url}/v1", api_key="x", max_retries=0) as client:
        stream = client.completions.create(model="echo", prompt="abc", max_tokens=9, stream=True)
        texts = [next(iter(stream)).choices[0].text]
        engine.die()
        with pytest.raises(openai.APIError) as failed:
            texts += [chunk.choices[0].text for chunk in stream]
    assert failed.value.code == "engine_lost"


def test_the_second_crash_alone_is_the_last(api: Api, shelf: Shelf, settings: Settings, engine: FakeEngine) -> None:
    """The killer is found, its neighbour is not blamed."""
    shelf.classifier()
    with api.client() as client:

        def ask(text: str) -> Any:
            return in_background(lambda: post(api, "/v1/classify", {"model": "mood", "input": text}))

        engine.hold()
        killer, neighbour = ask("killer"), ask("neighbour")
        engine.wait_for(wire.Score, 2)
        engine.die()
        for thread, found in (killer, neighbour):
            thread.join(IN_TIME)
            assert found[0].status_code == 503
        with engine_of(settings) as second:
            wait_until(lambda: client.get("/readyz").status_code == 200)
            second.hold()
            killer = ask("killer")
            second.wait_for(wire.Score, 1)
            innocent = ask("somebody else")  # waits at the gate
            second.die()
            killer[0].join(IN_TIME)
            innocent[0].join(IN_TIME)
            assert killer[1][0].status_code == 503
        with engine_of(settings):
            wait_until(lambda: client.get("/readyz").status_code == 200)
            refused = client.post("/v1/classify", json={"model": "mood", "input": "killer"})
            assert refused.status_code == 400 and refused.json()["error"]["code"] == "request_quarantined"
            for text in ("neighbour", "somebody else"):
                assert client.post("/v1/classify", json={"model": "mood", "input": text}).status_code == 200


def test_a_client_that_leaves_frees_its_place(api: Api, shelf: Shelf, engine: FakeEngine) -> None:
    shelf.generator()
    shelf.classifier()
    engine.hold_after = 2
    body = {"model": "echo", "prompt": "abc", "max_tokens": 50}
    for stream in (True, False):
        leaver = leave_after_sending(api, "/v1/completions", {**body, "stream": stream})
        wait_until(lambda: engine.running == 1)
        leaver.close()
        wait_until(lambda: engine.running == 0)
    engine.hold()
    leaver = leave_after_sending(api, "/v1/classify", {"model": "mood", "input": "abc"})
    engine.wait_for(wire.Score)
    leaver.close()
    engine.wait_for(wire.Abort)
    with api.client() as client:
        wait_until(lambda: gauges(client) == (0, 0))


@pytest.mark.parametrize("path", ["/v1/classify", "/v1/fine_tuning/jobs", "/v1/files"])
def test_a_client_that_leaves_while_it_sends_is_no_fault_of_ours(
    api: Api, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    host, port = api.url.removeprefix("http://").split(":")
    kind = "multipart/form-data; boundary=b" if path == "/v1/files" else "application/json"
    with api.client() as client, caplog.at_level(logging.ERROR):
        before = figure(client, 'ostinato_cancelled_total{stage="sending"}')
        with socket.create_connection((host, int(port))) as connection:
            head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {kind}\r\nContent-Length: 1000\r\n\r\n"
            connection.sendall(head.encode() + b"--b\r\n")
        wait_until(lambda: figure(client, 'ostinato_cancelled_total{stage="sending"}') == before + 1)
        wait_until(lambda: figure(client, f'http_requests_total{{method="POST",route="{path}",status="499"}}'))
    assert not caplog.records


def figure(client: httpx.Client, name: str) -> float:
    """A sample of the metrics whose line begins or ends its name so; 0 where there is none."""
    lines = [line for line in client.get("/metrics").text.splitlines() if f"{name} " in line]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def leave_after_sending(api: Api, path: str, body: dict[str, Any]) -> socket.socket:
    content = msgspec.json.encode(body)
    host, port = api.url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)))
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {len(content)}"
    connection.sendall(head.encode() + b"\r\n\r\n" + content)
    return connection


def gauges(client: httpx.Client) -> tuple[float, float]:
    """Running and waiting, of all versions."""
    sums = {"running": 0.0, "waiting": 0.0}
    for line in client.get("/metrics").text.splitlines():
        for which in sums:
            if line.startswith(f"ostinato_num_requests_{which}"):
                sums[which] += float(line.rpartition(" ")[2])
    return sums["running"], sums["waiting"]


class TestOverload:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return msgspec.structs.replace(settings, max_waiting=2, max_waiting_tokens=100)

    def test_too_many_requests(self, api: Api, shelf: Shelf, engine: FakeEngine) -> None:
        shelf.generator()
        engine.hold()
        body = {"model": "echo", "prompt": "abc", "max_tokens": 2}
        calls = [in_background(lambda: post(api, "/v1/completions", body)) for _ in range(2)]
        engine.wait_for(wire.Generate, 2)
        with api.client() as client:
            for stream in (False, True):
                refused = client.post("/v1/completions", json={**body, "stream": stream})
                assert refused.status_code == 429 and refused.json()["error"]["code"] == "overloaded"
                assert int(refused.headers["retry-after"]) >= 1
            engine.release()
            for thread, found in calls:
                thread.join(30)
                assert found[0].status_code == 200  # what was admitted is not shed
            wait_until(lambda: gauges(client) == (0, 0))
            assert client.post("/v1/completions", json=body).status_code == 200

    def test_a_full_service_reads_no_text(
        self, api: Api, shelf: Shelf, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shelf.classifier()
        shelf.generator()
        engine.hold()
        calls = [in_background(lambda: post(api, "/v1/classify", {"model": "mood", "input": "a"})) for _ in range(2)]
        engine.wait_for(wire.Score, 2)
        monkeypatch.setattr(service, "prepare", None)
        with api.client() as client:
            assert client.post("/v1/classify", json={"model": "mood", "input": "a"}).status_code == 429
            assert client.post("/v1/embeddings", json={"model": "mood", "input": "a"}).status_code == 429
            assert client.post("/v1/completions", json={"model": "echo", "prompt": "a"}).status_code == 429
        engine.release()
        for thread, found in calls:
            thread.join(30)
            assert found[0].status_code == 200

    def test_too_many_tokens(self, api: Api, shelf: Shelf, engine: FakeEngine) -> None:
        shelf.classifier()
        engine.hold()
        body = {"model": "mood", "input": "x" * 60}
        thread, found = in_background(lambda: post(api, "/v1/classify", body))
        engine.wait_for(wire.Score)
        with api.client() as client:
            assert client.post("/v1/classify", json=body).status_code == 429
            hopeless = client.post("/v1/classify", json={"model": "mood", "input": ["x" * 60] * 2})
            assert hopeless.status_code == 400 and hopeless.json()["error"]["code"] == "request_too_large"
        engine.release()
        thread.join(30)
        assert found[0].status_code == 200


class TestLongInput:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return msgspec.structs.replace(settings, max_body_bytes=10_000)

    def test_no_more_waits_to_be_read_than_there_is_room_for(
        self, api: Api, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shelf.classifier()
        begun, go, readers = threading.Event(), threading.Event(), api.context.inference._readers
        prepare = service.prepare

        def read_slowly(*arguments: Any) -> Any:
            begun.set()
            assert go.wait(60)
            return prepare(*arguments)

        monkeypatch.setattr(service, "prepare", read_slowly)
        body = {"model": "mood", "input": "x" * 9000, "truncate_prompt_tokens": -1}
        leaver = leave_after_sending(api, "/v1/classify", body)  # what a thread has begun is held until it has ended
        wait_until(lambda: readers.held == 9000)
        assert begun.wait(30)
        leaver.close()
        calls = [in_background(lambda: post(api, "/v1/classify", body)) for _ in range(3)]
        wait_until(lambda: readers.held == 36_000)
        refused = post(api, "/v1/classify", body)
        assert refused.status_code == 429 and refused.headers["retry-after"] == "1"
        go.set()
        for thread, found in calls:
            thread.join(30)
            assert found[0].status_code == 200
        wait_until(lambda: readers.held == 0)
        assert post(api, "/v1/classify", body).status_code == 200


def test_a_version_that_cannot_be_loaded_fails_alone(
    api: Api, shelf: Shelf, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.inference.engines.pool.FAILURE_MEMORY", 600.0)
    shelf.classifier("good")
    shelf.classifier("bad")
    with api.client() as client:
        assert client.post("/v1/classify", json={"model": "good", "input": "a"}).status_code == 200
        engine.refuse_loads = ("invalid_checkpoint", "weights and config differ")
        for _ in range(3):
            failed = client.post("/v1/classify", json={"model": "bad", "input": "a"})
            assert failed.status_code == 500 and "weights and config differ" in failed.json()["error"]["message"]
            assert failed.headers["x-should-retry"] == "false"
        assert len(engine.wait_for(wire.Load)) == 2  # the failure is remembered
        assert client.post("/v1/classify", json={"model": "good", "input": "a"}).status_code == 200


def test_what_made_room_for_another_version_is_loaded_again(api: Api, shelf: Shelf, engine: FakeEngine) -> None:
    """Whatever the last heartbeat said: the engine tells nobody which versions it unloads."""
    engine.room = 1
    asks: dict[str, dict[str, Any]] = {
        "/v1/classify": {"model": shelf.classifier().ref, "input": "a"},
        "/v1/embeddings": {"model": shelf.classifier().ref, "input": "a"},
        "/v1/completions": {"model": shelf.generator().ref, "prompt": "abc", "max_tokens": 3, "n": 2},
    }
    with api.client() as client:
        for _ in range(3):
            for path, body in asks.items():
                reply = client.post(path, json=body)
                assert reply.status_code == 200, reply.text
        streamed = client.post("/v1/completions", json={**asks["/v1/completions"], "stream": True})
        assert events(streamed)[-1] == "data: [DONE]" and "error" not in streamed.text
        wait_until(lambda: gauges(client) == (0, 0))
        assert len(engine.wait_for(wire.Load)) == 9
        said = engine.refuse_requests = ("model_not_loaded", "not here")
        for path, body in asks.items():
            refused = client.post(path, json=body)
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, said[0])  # twice is enough
        wait_until(lambda: gauges(client) == (0, 0))


class SlowCache:
    """Fetches nothing of what is on hold before `go` is set; `asked` counts who came for that."""

    def __init__(self, inner: Cache) -> None:
        self.inner, self.slow, self.go, self.asked = inner, set[str](), threading.Event(), threading.Semaphore(0)

    def checkpoint(self, digest_: str, files: Mapping[str, FileEntry]) -> Path:
        if digest_ in self.slow:
            self.asked.release()
            assert self.go.wait(60)
        return self.inner.checkpoint(digest_, files)


@pytest.fixture
def slow_cache(api: Api, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowCache]:
    versions = api.context.inference.versions
    cache = SlowCache(versions._cache)
    monkeypatch.setattr(versions, "_cache", cache)
    yield cache
    cache.go.set()


def test_slow_fetches_hold_nobody_else_up(api: Api, shelf: Shelf, slow_cache: SlowCache) -> None:
    shelf.classifier("quick")
    versions = [shelf.classifier(f"slow-{i}") for i in range(10)]
    slow_cache.slow = {version.digest for version in versions}
    shelf.registry.set_alias("slow-0", "live", 1, "local", required=True)
    with api.client() as client:
        assert client.post("/v1/classify", json={"model": "quick", "input": "a"}).status_code == 200
        asked = [
            in_background(lambda v=v: post(api, "/v1/classify", {"model": v.model, "input": "a"})) for v in versions
        ]
        assert slow_cache.asked.acquire(timeout=30)
        wait_until(lambda: "slow-0@live" in client.get("/readyz").json()["checks"])
        looks = api.context.readiness.looks
        wait_until(lambda: api.context.readiness.looks > looks + 2)  # it looks on, though a version is on its way
        checks = {"database": "ok", "engine": "ok", "slow-0@live": "is being loaded"}
        wait_until(lambda: client.get("/readyz").json()["checks"] == checks)
        assert client.post("/v1/classify", json={"model": "quick:1", "input": "a"}).status_code == 200
        slow_cache.go.set()
        for thread, found in asked:
            thread.join(30)
            assert found[0].status_code == 200
        wait_until(lambda: client.get("/readyz").status_code == 200)


def test_an_engine_that_dies_while_files_are_fetched_is_not_waited_for(
    api: Api, shelf: Shelf, settings: Settings, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.classifier()
    versions, asked, go = api.context.inference.versions, threading.Event(), threading.Event()
    fetch = versions.load_message

    async def fetch_slowly(served: ResolvedVersion) -> wire.Load:
        asked.set()
        await asyncio.to_thread(go.wait, 60)
        return await fetch(served)

    monkeypatch.setattr(versions, "load_message", fetch_slowly)
    body = {"model": "mood", "input": "a"}
    thread, found = in_background(lambda: post(api, "/v1/classify", body))
    assert asked.wait(30)
    engine.die()
    with api.client() as client:
        wait_until(lambda: client.get("/readyz").status_code == 503, IN_TIME)
        go.set()
        thread.join(IN_TIME)
        assert found[0].status_code == 503 and found[0].json()["error"]["code"] == "engine_lost"
        with engine_of(settings):
            wait_until(lambda: client.get("/readyz").status_code == 200)
            assert client.post("/v1/classify", json=body).status_code == 200


class TestLoadTimeout:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return msgspec.structs.replace(settings, load_timeout=0.3)

    def ask(self, client: httpx.Client) -> httpx.Response:
        return client.post("/v1/classify", json={"model": "mood", "input": "a"})

    def test_a_slow_load_is_waited_for_and_then_refused(
        self, api: Api, shelf: Shelf, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shelf.classifier()
        monkeypatch.setattr(engine, "_load", lambda peer, message: None)  # never answered
        with api.client() as client:
            late = self.ask(client)
        assert late.status_code == 503 and late.json()["error"]["code"] == "loading" and late.headers["retry-after"]

    def test_a_slow_fetch_is_waited_for_and_then_refused(self, api: Api, shelf: Shelf, slow_cache: SlowCache) -> None:
        slow_cache.slow = {shelf.classifier().digest}
        with api.client() as client:
            for _ in range(2):
                late = self.ask(client)
                assert late.status_code == 503 and late.json()["error"]["code"] == "loading"
                assert int(late.headers["retry-after"]) >= 1
            assert slow_cache.asked.acquire(timeout=30)
            assert not slow_cache.asked.acquire(blocking=False)  # who comes later waits for the same fetch
            slow_cache.go.set()
            wait_until(lambda: self.ask(client).status_code == 200)


def test_an_alias_move_arrives_within_a_second(api: Api, shelf: Shelf) -> None:
    shelf.classifier(alias="champion")
    shelf.classifier()
    with api.client() as client:
        body = {"model": "mood", "input": "a"}
        assert client.post("/v1/classify", json=body).headers["x-model-version"] == "mood:1"
        shelf.registry.set_alias("mood", "champion", 2, "local")
        moved = asked = time.monotonic()
        while client.post("/v1/classify", json=body).headers["x-model-version"] == "mood:1":
            assert asked - moved < 1.0  # who asks later hears of it
            asked = time.monotonic()


def test_readiness_follows_a_mute_engine(api: Api, engine: FakeEngine) -> None:
    with api.client() as client:
        ready = {"status": "ready", "checks": {"database": "ok", "engine": "ok"}}

        def muting() -> float:
            wait_until(lambda: client.get("/readyz").json() == ready)
            engine.mute()
            muted = time.monotonic()
            wait_until(lambda: client.get("/health").json()["checks"]["engine"] == "no engine is running")
            seconds = time.monotonic() - muted
            assert client.get("/readyz").status_code == 503
            engine.unmute()
            return seconds

        kept(2.0, muting)


def test_readiness_waits_for_required_aliases(api: Api, shelf: Shelf, engine: FakeEngine) -> None:
    shelf.generator()
    engine.hold()
    shelf.registry.set_alias("echo", "live", 1, "local", required=True)
    with api.client() as client:
        wait_until(lambda: "echo@live" in client.get("/readyz").json()["checks"])
        assert client.get("/readyz").status_code == 503
        engine.release()
        wait_until(lambda: client.get("/readyz").status_code == 200)
        assert client.get("/readyz").json()["checks"]["echo@live"] == "ok"


def test_two_engines_may_share_the_required_versions(
    api: Api, shelf: Shelf, settings: Settings, engine: FakeEngine
) -> None:
    pool = api.context.inference.pool
    with engine_of(settings, 1) as other, api.client() as client:
        wait_until(lambda: len(pool.living) == 2)
        for count, name in enumerate(("mood", "tone"), 1):  # each goes to the engine that has less
            shelf.classifier(name)
            assert client.post("/v1/classify", json={"model": name, "input": "a"}).status_code == 200
            wait_until(lambda count=count: len(pool.loaded) == count)
        assert len(engine.loaded) == len(other.loaded) == 1
        for name in ("mood", "tone"):
            shelf.registry.set_alias(name, "live", 1, "local", required=True)
        wait_until(lambda: len(client.get("/readyz").json()["checks"]) == 4)
        wait_until(lambda: client.get("/readyz").status_code == 200)


def test_engines_hear_what_must_stay_loaded_and_what_is_gone(api: Api, shelf: Shelf, engine: FakeEngine) -> None:
    deleted, kept = shelf.classifier(), shelf.classifier()
    shelf.registry.set_alias("mood", "live", 2, "local", required=True)
    with api.client() as client:
        assert client.post("/v1/classify", json={"model": "mood:1", "input": "a"}).status_code == 200
        wait_until(lambda: client.get("/readyz").status_code == 200 and len(engine.loaded) == 2)
        wait_until(lambda: wire.Keep([kept.digest]) in engine.received)
        assert wire.Load in {type(m) for m in engine.received} and deleted.digest in engine.loaded
        client.delete("/v1/registry/models/mood/versions/1").raise_for_status()
        wait_until(lambda: set(engine.loaded) == {kept.digest})
        loads = [m for m in engine.received if isinstance(m, wire.Load)]
        assert all(m.bytes > 0 for m in loads) and [m.aliased for m in loads if m.digest == kept.digest] == [True]
        shelf.registry.delete_alias("mood", "live", "local")
        wait_until(lambda: wire.Keep([]) in engine.received)


def test_readiness_comes_back_after_engines_that_died_at_a_warm_up(
    api: Api, shelf: Shelf, settings: Settings, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What we ask ourselves is never quarantined; but an engine that dies of it is given a rest."""
    monkeypatch.setattr(readiness, "LONGEST_REST", 0.1)
    shelf.classifier()
    engine.hold()
    shelf.registry.set_alias("mood", "live", 1, "local", required=True)
    for _ in range(3):
        engine.wait_for(wire.Score)
        engine.die()
        engine = engine_of(settings)
        engine.hold()
        engine.start()
    engine.release()
    with api.client() as client:
        wait_until(lambda: client.get("/readyz").status_code == 200)
    engine.stop()


def test_a_required_version_that_cannot_be_read_is_told(api: Api, shelf: Shelf, data_dir: Path) -> None:
    shelf.classifier()
    for blob in (data_dir / "blobs").rglob("*"):
        if blob.is_file():
            blob.chmod(0o600)
            blob.write_bytes(b"rotten")
    shelf.registry.set_alias("mood", "live", 1, "local", required=True)
    with api.client() as client:
        wait_until(lambda: "mood@live" in client.get("/readyz").json()["checks"])
        reply = client.get("/readyz")
        assert reply.status_code == 503 and str(data_dir) not in reply.text
