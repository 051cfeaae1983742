"""`/readyz`: the engines, the required versions, and the versions that engines must keep loaded."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from app.inference import readiness
from app.settings import Settings
from app.wire import engine as wire
from tests.fakes import FakeEngine
from tests.promises import kept
from tests.serving import Api, Shelf, engine_of, wait_until


def test_readiness_follows_a_silent_engine(api: Api, engine: FakeEngine) -> None:
    with api.client() as client:
        ready = {"status": "ready", "checks": {"database": "ok", "engine": "ok"}}

        def seconds_to_notice() -> float:
            wait_until(lambda: client.get("/readyz").json() == ready)
            engine.mute()
            muted = time.monotonic()
            wait_until(lambda: client.get("/health").json()["checks"]["engine"] == "no engine is running")
            seconds = time.monotonic() - muted
            assert client.get("/readyz").status_code == 503
            engine.unmute()
            return seconds

        kept(2.0, seconds_to_notice)


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
    pool = api.services.inference.pool
    with engine_of(settings, 1) as other, api.client() as client:
        wait_until(lambda: len(pool.living) == 2)
        for count, name in enumerate(("mood", "tone"), 1):  # each is loaded by the engine that has fewer versions
            shelf.classifier(name)
            assert client.post("/v1/classify", json={"model": name, "input": "a"}).status_code == 200
            wait_until(lambda count=count: len(pool.loaded) == count)
        assert len(engine.loaded) == len(other.loaded) == 1
        for name in ("mood", "tone"):
            shelf.registry.set_alias(name, "live", 1, "local", required=True)
        wait_until(lambda: len(client.get("/readyz").json()["checks"]) == 4)
        wait_until(lambda: client.get("/readyz").status_code == 200)


def test_engines_are_told_which_versions_to_keep_and_which_are_deleted(
    api: Api, shelf: Shelf, engine: FakeEngine
) -> None:
    deleted, required = shelf.classifier(), shelf.classifier()
    shelf.registry.set_alias("mood", "live", 2, "local", required=True)
    with api.client() as client:
        assert client.post("/v1/classify", json={"model": "mood:1", "input": "a"}).status_code == 200
        wait_until(lambda: client.get("/readyz").status_code == 200 and len(engine.loaded) == 2)
        wait_until(lambda: wire.Keep([required.digest]) in engine.received)
        assert wire.Load in {type(m) for m in engine.received} and deleted.digest in engine.loaded
        client.delete("/v1/registry/models/mood/versions/1").raise_for_status()
        wait_until(lambda: set(engine.loaded) == {required.digest})
        loads = [m for m in engine.received if isinstance(m, wire.Load)]
        assert all(m.bytes > 0 for m in loads) and [m.aliased for m in loads if m.digest == required.digest] == [True]
        shelf.registry.delete_alias("mood", "live", "local")
        wait_until(lambda: wire.Keep([]) in engine.received)


def test_readiness_recovers_from_engines_that_died_of_its_test_requests(
    api: Api, shelf: Shelf, settings: Settings, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Test requests are never quarantined. After a crash, the readiness checks wait before they send the next one."""
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


def test_a_required_version_that_cannot_be_read_is_reported_without_its_path(
    api: Api, shelf: Shelf, data_dir: Path
) -> None:
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
