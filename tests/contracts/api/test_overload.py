"""Under too much load, new requests are rejected before any processing, and admitted requests are answered."""

from __future__ import annotations

import threading
from typing import Any

import msgspec
import pytest

from app.inference import service
from app.settings import Settings
from app.wire import engine as wire
from tests.api.clients import Call, gauges, leave_after_sending, post
from tests.fakes import FakeEngine
from tests.serving import Api, Shelf, wait_until


class TestWaitingRequests:
    """Limits of two waiting requests and 100 waiting tokens."""

    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return msgspec.structs.replace(settings, max_waiting=2, max_waiting_tokens=100)

    def test_too_many_requests(self, api: Api, shelf: Shelf, engine: FakeEngine) -> None:
        shelf.generator()
        engine.hold()
        body = {"model": "echo", "prompt": "abc", "max_tokens": 2}
        calls = [Call(lambda: post(api, "/v1/completions", body)) for _ in range(2)]
        engine.wait_for(wire.Generate, 2)
        with api.client() as client:
            for stream in (False, True):
                refused = client.post("/v1/completions", json={**body, "stream": stream})
                assert refused.status_code == 429 and refused.json()["error"]["code"] == "overloaded"
                assert int(refused.headers["retry-after"]) >= 1
            engine.release()
            assert [call.result().status_code for call in calls] == [200, 200]
            wait_until(lambda: gauges(client) == (0, 0))
            assert client.post("/v1/completions", json=body).status_code == 200

    def test_a_refused_request_is_not_tokenized(
        self, api: Api, shelf: Shelf, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shelf.classifier()
        shelf.generator()
        engine.hold()
        calls = [Call(lambda: post(api, "/v1/classify", {"model": "mood", "input": "a"})) for _ in range(2)]
        engine.wait_for(wire.Score, 2)
        monkeypatch.setattr(service, "prepare", None)
        with api.client() as client:
            assert client.post("/v1/classify", json={"model": "mood", "input": "a"}).status_code == 429
            assert client.post("/v1/embeddings", json={"model": "mood", "input": "a"}).status_code == 429
            assert client.post("/v1/completions", json={"model": "echo", "prompt": "a"}).status_code == 429
        engine.release()
        assert [call.result().status_code for call in calls] == [200, 200]

    def test_too_many_tokens(self, api: Api, shelf: Shelf, engine: FakeEngine) -> None:
        shelf.classifier()
        engine.hold()
        body = {"model": "mood", "input": "x" * 60}
        call = Call(lambda: post(api, "/v1/classify", body))
        engine.wait_for(wire.Score)
        with api.client() as client:
            assert client.post("/v1/classify", json=body).status_code == 429
            hopeless = client.post("/v1/classify", json={"model": "mood", "input": ["x" * 60] * 2})
            assert hopeless.status_code == 400 and hopeless.json()["error"]["code"] == "request_too_large"
        engine.release()
        assert call.result().status_code == 200


class TestLongInput:
    """The limit on a body is 10 kB, so at most 40 kB of long input can wait for a thread."""

    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return msgspec.structs.replace(settings, max_body_bytes=10_000)

    def test_long_input_that_waits_to_be_tokenized_is_bounded(
        self, api: Api, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shelf.classifier()
        begun, go, readers = threading.Event(), threading.Event(), api.services.inference._readers
        prepare = service.prepare

        def wait_then_prepare(*arguments: Any) -> Any:
            begun.set()
            assert go.wait(60)
            return prepare(*arguments)

        monkeypatch.setattr(service, "prepare", wait_then_prepare)
        body = {"model": "mood", "input": "x" * 9000, "truncate_prompt_tokens": -1}
        leaver = leave_after_sending(api, "/v1/classify", body)
        wait_until(lambda: readers.load == 9000)
        assert begun.wait(30)
        leaver.close()  # a thread is already processing its input, which counts until the thread is done
        calls = [Call(lambda: post(api, "/v1/classify", body)) for _ in range(3)]
        wait_until(lambda: readers.load == 36_000)
        refused = post(api, "/v1/classify", body)
        assert refused.status_code == 429 and refused.headers["retry-after"] == "1"
        go.set()
        assert [call.result().status_code for call in calls] == [200, 200, 200]
        wait_until(lambda: readers.load == 0)
        assert post(api, "/v1/classify", body).status_code == 200
