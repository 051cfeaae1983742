"""Loading versions on demand: slow loads, failing loads, repeated loads, and loads after an alias has moved."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from app.checkpoint.directory import FileEntry
from app.inference.versions import Cache
from app.settings import Settings
from app.wire import engine as wire
from tests.api.clients import Call, events, gauges, post
from tests.fakes import FakeEngine
from tests.serving import Api, Shelf, wait_until

CLASSIFY = {"model": "mood", "input": "a"}


class SlowCache:
    """A cache that fetches the checkpoints in `slow` only after `go` is set. `fetches` counts the delayed fetches."""

    def __init__(self, inner: Cache) -> None:
        self.inner, self.slow, self.go, self.fetches = inner, set[str](), threading.Event(), threading.Semaphore(0)

    def checkpoint(self, digest_: str, files: Mapping[str, FileEntry]) -> Path:
        if digest_ in self.slow:
            self.fetches.release()
            assert self.go.wait(60)
        return self.inner.checkpoint(digest_, files)


@pytest.fixture
def slow_cache(api: Api, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowCache]:
    versions = api.services.inference.versions
    cache = SlowCache(versions._cache)
    monkeypatch.setattr(versions, "_cache", cache)
    yield cache
    cache.go.set()


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


def test_a_version_that_was_unloaded_for_another_is_loaded_again(api: Api, shelf: Shelf, engine: FakeEngine) -> None:
    """An engine does not report that it has unloaded a version, so its last heartbeat may still list the version."""
    engine.room = 1
    bodies: dict[str, dict[str, Any]] = {
        "/v1/classify": {"model": shelf.classifier().ref, "input": "a"},
        "/v1/embeddings": {"model": shelf.classifier().ref, "input": "a"},
        "/v1/completions": {"model": shelf.generator().ref, "prompt": "abc", "max_tokens": 3, "n": 2},
    }
    with api.client() as client:
        for _ in range(3):
            for path, body in bodies.items():
                reply = client.post(path, json=body)
                assert reply.status_code == 200, reply.text
        streamed = client.post("/v1/completions", json={**bodies["/v1/completions"], "stream": True})
        assert events(streamed)[-1] == "data: [DONE]" and "error" not in streamed.text
        wait_until(lambda: gauges(client) == (0, 0))
        assert len(engine.wait_for(wire.Load)) == 9
        engine.refuse_requests = ("model_not_loaded", "not here")
        for path, body in bodies.items():  # for each request, a version is loaded again at most once
            refused = client.post(path, json=body)
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "model_not_loaded")
        wait_until(lambda: gauges(client) == (0, 0))


def test_slow_fetches_do_not_block_other_versions(api: Api, shelf: Shelf, slow_cache: SlowCache) -> None:
    shelf.classifier("quick")
    versions = [shelf.classifier(f"slow-{i}") for i in range(10)]
    slow_cache.slow = {version.digest for version in versions}
    shelf.registry.set_alias("slow-0", "live", 1, "local", required=True)
    with api.client() as client:
        assert client.post("/v1/classify", json={"model": "quick", "input": "a"}).status_code == 200
        calls = [Call(lambda v=v: post(api, "/v1/classify", {"model": v.model, "input": "a"})) for v in versions]
        assert slow_cache.fetches.acquire(timeout=30)
        wait_until(lambda: "slow-0@live" in client.get("/readyz").json()["checks"])
        looks = api.services.readiness.looks
        wait_until(lambda: api.services.readiness.looks > looks + 2)  # readiness goes on while a version is fetched
        checks = {"database": "ok", "engine": "ok", "slow-0@live": "is being loaded"}
        wait_until(lambda: client.get("/readyz").json()["checks"] == checks)
        assert client.post("/v1/classify", json={"model": "quick:1", "input": "a"}).status_code == 200
        slow_cache.go.set()
        assert [call.result().status_code for call in calls] == [200] * 10
        wait_until(lambda: client.get("/readyz").status_code == 200)


class TestLoadTimeout:
    """With a `load_timeout` of 0.3 seconds."""

    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return msgspec.structs.replace(settings, load_timeout=0.3)

    def test_a_request_gives_up_on_a_slow_load(
        self, api: Api, shelf: Shelf, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shelf.classifier()
        monkeypatch.setattr(engine, "_load", lambda peer, message: None)  # never answers
        with api.client() as client:
            late = client.post("/v1/classify", json=CLASSIFY)
        assert late.status_code == 503 and late.json()["error"]["code"] == "loading" and late.headers["retry-after"]

    def test_a_request_gives_up_on_a_slow_fetch_which_goes_on(
        self, api: Api, shelf: Shelf, slow_cache: SlowCache
    ) -> None:
        slow_cache.slow = {shelf.classifier().digest}
        with api.client() as client:
            for _ in range(2):
                late = client.post("/v1/classify", json=CLASSIFY)
                assert late.status_code == 503 and late.json()["error"]["code"] == "loading"
                assert int(late.headers["retry-after"]) >= 1
            assert slow_cache.fetches.acquire(timeout=30)
            assert not slow_cache.fetches.acquire(blocking=False)  # the second request waited for the same fetch
            slow_cache.go.set()
            wait_until(lambda: client.post("/v1/classify", json=CLASSIFY).status_code == 200)


def test_a_moved_alias_is_followed_within_a_second(api: Api, shelf: Shelf) -> None:
    shelf.classifier(alias="champion")
    shelf.classifier()

    def answering_version(client: httpx.Client) -> str:
        return client.post("/v1/classify", json=CLASSIFY).headers["x-model-version"]

    with api.client() as client:
        assert answering_version(client) == "mood:1"
        shelf.registry.set_alias("mood", "champion", 2, "local")
        moved = sent = time.monotonic()
        while answering_version(client) == "mood:1":
            assert sent - moved < 1.0  # a request sent later than that reaches the new version
            sent = time.monotonic()
