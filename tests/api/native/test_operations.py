"""Probes, engines, metrics, request ids, internal errors and the size of bodies."""

from __future__ import annotations

import logging
import re
import threading

import httpx
import pytest

from app.api.native import operations
from app.errors import Unavailable
from app.wire.engine import VersionWork
from tests.fakes import FakeEngine
from tests.serving import Api, Shelf, wait_until

THREADS = 40  # Starlette's number of threads for blocking routes


def test_unknown_routes_and_methods(api: Api) -> None:
    with api.client() as client:
        missing = client.get("/v1/nothing")
        assert missing.status_code == 404 and missing.json()["error"]["code"] == "route_not_found"
        wrong = client.get("/v1/classify")
        assert wrong.status_code == 405 and wrong.json()["error"]["code"] == "method_not_allowed"
        assert wrong.headers["allow"] == "POST"
        assert isinstance(client.get("/v2/nothing").json()["error"], str)
        assert set(client.get("/generate/nothing").json()) == {"error", "error_type"}


def test_request_ids(api: Api) -> None:
    with api.client() as client:
        assert client.get("/livez", headers={"x-request-id": "mine-1"}).headers["x-request-id"] == "mine-1"
        forged = client.get("/livez", headers={"x-request-id": "a b\tc"}).headers["x-request-id"]
        assert re.fullmatch(r"req-[0-9a-f]{32}", forged)
        assert client.get("/nothing").headers["x-request-id"]
        assert float(client.get("/livez", timeout=60).headers["x-total-time"]) >= 0


def test_an_internal_error_reveals_only_its_request_id(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("secret /internal/path")

    monkeypatch.setattr(api.services.registry, "resolve", broken)
    with api.client() as client, caplog.at_level(logging.ERROR):
        reply = client.get("/v1/models/x", headers={"x-request-id": "find-me"})
    assert reply.status_code == 500 and reply.headers["x-should-retry"] == "false"
    assert "find-me" in reply.json()["error"]["message"] and "secret" not in reply.text
    assert "secret /internal/path" in caplog.text


def test_bodies_have_a_size_limit(api: Api) -> None:
    too_large = api.settings.max_body_bytes + 1
    with api.client() as client:
        announced = client.post("/v1/classify", content=b"x" * too_large)
        assert announced.status_code == 413 and announced.json()["error"]["code"] == "too_large"
        piecewise = client.post("/v1/classify", content=(b"x" * 65536 for _ in range(too_large // 65536 + 1)))
        assert piecewise.status_code == 413
        zipped = client.post("/v1/classify", content=b"x", headers={"content-encoding": "br"})
        assert zipped.status_code == 415


@pytest.mark.parametrize("other", ["multipart/form-data; boundary=x", "multipart/form+json"])
@pytest.mark.parametrize("first", [True, False])
def test_no_content_type_raises_the_size_limit_of_json(api: Api, shelf: Shelf, other: str, first: bool) -> None:
    """The larger limit for multipart bodies applies only to routes that read forms."""
    shelf.classifier()
    body = b'{"model": "mood", "input": "x"' + b" " * api.settings.max_body_bytes + b"}"
    kinds = ["application/json", other]
    with api.client() as client:
        twice = [("content-type", kind) for kind in (kinds[::-1] if first else kinds)]
        reply = client.post("/v1/classify", content=body, headers=twice)
        assert reply.status_code == 400 and "content-type is sent twice" in reply.json()["error"]["message"]
        alone = client.post("/v1/classify", content=body, headers={"content-type": other})
        assert alone.status_code == (415 if other.startswith("multipart/form-data") else 413)


def test_engines_and_metrics(api: Api, shelf: Shelf, engine: FakeEngine) -> None:
    shelf.classifier()
    engine.counters, engine.work = {"Odd name": 3.0}, VersionWork(2, 30, 4, 5, 6, 40)
    with api.client() as client:
        client.post("/v1/classify", json={"model": "mood", "input": "abc"})
        wait_until(lambda: client.get("/v1/engine").json()["engines"][0]["versions"])
        report = client.get("/v1/engine").json()["engines"][0]
        assert report["device"] == "cpu" and report["versions"][0]["ref"] == "mood:1"
        assert report["versions"][0]["kernel"] == "torch"
        assert report["versions"][0]["choice"] == {
            "mode": "float32/torch", "reason": "no other mode is faster", "speeds": {"float32/torch": 1.0},
            "checks": {},
        }  # fmt: skip
        assert report["versions"][0]["work"] == {
            "requests": 2, "prompt_tokens": 30, "generated_tokens": 4, "calls": 5, "rows": 6, "padded_tokens": 40,
        }  # fmt: skip
        text = client.get("/metrics").text
    for line in (
        'ostinato_engine_up{engine="engine-0"} 1.0',
        'ostinato_engine_odd_name_total{engine="engine-0"} 3.0',
        'ostinato_engine_version_info{dtype="float32",engine="engine-0",kernel="torch",model_name="mood:1"} 1.0',
        'ostinato_engine_version_requests_total{engine="engine-0",model_name="mood:1"} 2.0',
        'ostinato_engine_version_padded_tokens_total{engine="engine-0",model_name="mood:1"} 40.0',
        'ostinato_num_requests_running{model_name="mood:1"} 0.0',
        'ostinato_num_requests_waiting{model_name="mood:1"} 0.0',
        'ostinato_state_cache_bytes{engine="engine-0",model_name="mood:1"} 0.0',
        'ostinato_state_cache_allocated_bytes{engine="engine-0",model_name="mood:1"} 100.0',
        'ostinato_request_success_total{finished_reason="scored",model_name="mood:1"}',
        'ostinato_e2e_request_latency_seconds_count{model_name="mood:1"}',
    ):
        assert line in text, line


def test_readiness_without_a_database(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise RuntimeError("gone")

    monkeypatch.setattr(api.services.readiness, "_ping", fail)
    with api.client() as client:
        wait_until(lambda: client.get("/readyz").status_code == 503, 4)
        assert client.get("/readyz").json()["checks"]["database"] != "ok"
        assert client.get("/livez", timeout=60).status_code == 200


def test_probes_and_metrics_answer_while_all_threads_are_blocked(
    api: Api, shelf: Shelf, monkeypatch: pytest.MonkeyPatch, engine: FakeEngine
) -> None:
    """If the database hangs, blocking routes may occupy all worker threads. Probes must still report this."""
    shelf.classifier()
    monkeypatch.setattr(operations, "ALIASES_PATIENCE", 0.05)
    go, blocked = threading.Event(), threading.Semaphore(0)

    def hang() -> None:
        blocked.release()
        assert go.wait(60)

    def hang_and_fail(*_: object, **__: object) -> None:
        hang()
        raise Unavailable("the database is not responding")

    threads = [
        threading.Thread(target=lambda: httpx.get(f"{api.url}/v1/registry/models", timeout=60)) for _ in range(THREADS)
    ]
    ask = {"model": "mood", "input": "abc"}
    with api.client() as client:
        assert client.post("/v1/classify", json=ask).status_code == 200
        for place in ("list", "every_alias"):
            monkeypatch.setattr(api.services.registry, place, hang_and_fail)
        monkeypatch.setattr(api.services.readiness, "_ping", hang)
        try:
            for thread in threads:
                thread.start()
            for _ in threads:
                assert blocked.acquire(timeout=30)
            for path in ("/livez", "/metrics", "/v1/engine"):
                assert client.get(path, timeout=20).status_code == 200, path
            for path in ("/readyz", "/health"):
                wait_until(lambda path=path: client.get(path, timeout=20).status_code == 503, 25)
                assert client.get(path).json()["checks"] == {
                    "database": "the database is not responding",
                    "engine": "ok",
                }
        finally:
            go.set()
            for thread in threads:
                thread.join(30)
        wait_until(lambda: client.get("/readyz").status_code == 200)


def test_ping_and_version(api: Api) -> None:
    with api.client() as client:
        assert client.get("/ping").json() == {"status": "Healthy"}
        assert client.get("/version").json() == {"version": client.get("/openapi.json").json()["info"]["version"]}
