"""The traffic of the last hour as the API reports it."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from app.api.http.traffic_sampler import TrafficSampler
from app.settings import Settings
from app.telemetry import request_success
from app.wire import engine as wire
from tests.fakes import FakeEngine
from tests.serving import Api, Shelf, wait_until

ANN, BOB, OPS = "secret-of-ann-1", "secret-of-bob-1", "secret-of-ops-1"


@pytest.fixture(autouse=True)
def _no_samples_in_the_background(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the tests take samples: a period that ends during a test would split its traffic into two samples."""

    async def wait(_: TrafficSampler) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(TrafficSampler, "_repeat", wait)


def test_a_key_sees_its_own_versions_and_an_operator_all(settings: Settings, shelf: Shelf, engine: FakeEngine) -> None:
    keys = f"ann:{ANN},bob:{BOB},ops:{OPS}"
    scopes = "ann:infer,bob:infer,ops:operator"
    shelf.classifier("mood", owner="ann")
    shelf.generator("echo", owner="bob")
    with Api(msgspec.structs.replace(settings, api_keys=keys, key_scopes=scopes)) as api:
        api.wait_ready()
        with api.client(ANN) as ann, api.client(BOB) as bob, api.client(OPS) as ops:
            assert ann.post("/v1/classify", json={"model": "mood", "input": ["a", "b"]}).status_code == 200
            assert bob.post("/v1/completions", json={"model": "echo", "prompt": "hi"}).status_code == 200
            sampler = api.services.traffic
            sampler.ring.add(sampler.take())
            own = [v for period in ann.get("/v1/traffic").json()["data"] for v in period["versions"]]
            [mood] = own
            assert (mood["id"], mood["requests"], mood["texts"]) == ("mood:1", 1, 2)
            assert sum(mood["labels"].values()) == 2 and 1 / 3 <= mood["confidence"] <= 1
            periods = bob.get("/v1/traffic").json()["data"]
            assert [v["id"] for period in periods for v in period["versions"]] == ["echo:1"]
            assert all(period["totals"] is None for period in periods)
            [period] = ops.get("/v1/traffic").json()["data"]
            assert {v["id"] for v in period["versions"]} == {"mood:1", "echo:1"}
            assert period["totals"]["replies"] == 2 and period["totals"]["generated_tokens"] > 0


def test_without_scopes_a_key_sees_its_own_versions_alone(settings: Settings, shelf: Shelf, engine: FakeEngine) -> None:
    shelf.classifier("mood", owner="ann")
    with Api(msgspec.structs.replace(settings, api_keys=f"ann:{ANN},bob:{BOB}")) as api:
        api.wait_ready()
        with api.client(ANN) as ann, api.client(BOB) as bob:
            assert ann.post("/v1/classify", json={"model": "mood", "input": "a"}).status_code == 200
            sampler = api.services.traffic
            sampler.ring.add(sampler.take())
            seen = [
                [v["id"] for p in key.get("/v1/traffic").json()["data"] for v in p["versions"]] for key in (ann, bob)
            ]
    assert seen == [["mood:1"], []]


def test_refusals_are_counted_by_reason(api: Api, shelf: Shelf) -> None:
    shelf.classifier("mood")
    admission = api.services.inference.admission
    admission.requests = admission.max_requests
    with api.client() as client:
        assert client.post("/v1/classify", json={"model": "mood", "input": "a"}).status_code == 429
        sampler = api.services.traffic
        sampler.ring.add(sampler.take())
        [period] = client.get("/v1/traffic").json()["data"]
    assert period["totals"]["rejected"] == 1
    assert period["totals"]["reasons"] == {"max_waiting": 1}


def test_requests_of_the_service_itself_are_not_counted(api: Api, shelf: Shelf, engine: FakeEngine) -> None:
    before = request_success.totals()
    for version in (shelf.classifier("mood"), shelf.generator("echo")):
        with api.client() as client:
            path = f"/v1/registry/models/{version.model}/aliases/live"
            reply = client.put(path, json={"version": 1, "expected_version": None, "required": True})
            assert reply.status_code == 200
    wait_until(lambda: {"mood@live", "echo@live"} <= api.services.readiness.report().checks.keys())
    wait_until(lambda: api.services.readiness.report().ready)
    assert engine.wait_for(wire.Score) and engine.wait_for(wire.Generate)
    sample = api.services.traffic.take()
    assert sample.versions == {} and not sample.counts.get("read") and not sample.counts.get("generated")
    assert request_success.totals() == before
