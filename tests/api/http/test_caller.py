"""The caller of a model route: the principal, the model reference and the time limit of a request."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import Request

from app.api.http.caller import Caller
from app.errors import InvalidRequest
from app.settings import Settings
from tests.serving import Api, Shelf


def request(settings: Settings, timeout: str | None = None, principal: str = "local") -> Request:
    """A request to an API with these settings."""
    headers = [] if timeout is None else [(b"x-request-timeout-ms", timeout.encode())]
    app = SimpleNamespace(state=SimpleNamespace(services=SimpleNamespace(settings=settings)))
    scope: dict[str, Any] = {"type": "http", "headers": headers, "query_string": b"", "app": app}
    return Request(scope | {"principal": principal})


def model_of(reply: httpx.Response) -> str:
    return reply.headers["x-model-version"]


def test_the_body_precedes_the_query_which_precedes_the_header(api: Api, shelf: Shelf) -> None:
    shelf.classifier("a")
    shelf.classifier("b")
    shelf.classifier("c")
    header = {"x-model": "c:1"}
    with api.client() as client:
        assert model_of(client.post("/v1/classify?model=b", json={"input": "x", "model": "a"}, headers=header)) == "a:1"
        assert model_of(client.post("/v1/classify?model=b", json={"input": "x"}, headers=header)) == "b:1"
        assert model_of(client.post("/v1/classify", json={"input": "x"}, headers=header)) == "c:1"


def test_the_default_model_is_used_where_none_is_named() -> None:
    settings = Settings(default_model="mood")
    assert Caller.read(request(settings), None).reference == "mood"
    assert Caller.read(request(settings), "other").reference == "other"
    with pytest.raises(InvalidRequest) as missing:
        Caller.read(request(Settings()), None)
    assert (missing.value.code, missing.value.param) == ("model_missing", "model")


def test_the_time_limit_is_at_most_that_of_the_settings() -> None:
    settings = Settings(request_timeout=60.0)
    assert Caller.read(request(settings), "m").seconds == 60.0
    assert Caller.read(request(settings, timeout="1500"), "m").seconds == 1.5
    assert Caller.read(request(settings, timeout="90000"), "m").seconds == 60.0


def test_the_principal_is_the_name_of_the_key() -> None:
    assert Caller.read(request(Settings(), principal="alice"), "m").principal == "alice"


@pytest.mark.parametrize("path", ["/v1/classify", "/v1/embeddings", "/v1/completions"])
def test_an_invalid_time_limit_is_refused(api: Api, shelf: Shelf, path: str) -> None:
    shelf.generator()
    body = {"model": "echo", "prompt" if path == "/v1/completions" else "input": "a"}
    values = [b"soon", b"", b"0", b"-5", b"1.5", b"\xb2", b"1e3", b"9" * 12, b"9" * 5000, b"0x10", b"1_000", b"+5"]
    with api.client() as client:
        for value in values:
            reply = client.post(path, json=body, headers=[(b"x-request-timeout-ms", value)])
            assert reply.status_code == 400, (value, reply.text)
            assert reply.json()["error"]["param"] == "x-request-timeout-ms", (value, reply.text)
