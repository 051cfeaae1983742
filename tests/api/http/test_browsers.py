"""Web pages of other sites: refused by default, and allowed by `allowed_origins`."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import msgspec
import pytest

from app.settings import Settings
from tests.fakes import FakeEngine
from tests.serving import Api, Shelf

PAGE, OTHER = "https://my.site", "https://other.site"
KEY = "0123456789abcdef"
PREFLIGHT = {
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type,x-stainless-os",
}


@pytest.fixture
def app(settings: Settings, engine: FakeEngine, shelf: Shelf) -> Iterator[Api]:
    """An API with a key, which accepts requests from one page and from pages of a local development server."""
    shelf.classifier("mood", owner="ann")
    allowed = f"{PAGE}, http://localhost:3000"
    with Api(msgspec.structs.replace(settings, api_keys=f"ann:{KEY}", allowed_origins=allowed)) as running:
        running.wait_ready()
        yield running


@pytest.mark.parametrize("origin", [PAGE, "http://localhost:3000"])
def test_an_allowed_page_asks_without_a_key_and_calls_with_one(app: Api, origin: str) -> None:
    preflight = httpx.options(f"{app.url}/v1/classify", headers={"origin": origin, **PREFLIGHT})
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == origin
    assert "x-stainless-os" in preflight.headers["access-control-allow-headers"]
    assert {"POST", "DELETE", "PUT"} <= set(preflight.headers["access-control-allow-methods"].split(", "))
    with app.client(KEY) as client:
        reply = client.post("/v1/classify", json={"model": "mood", "input": "a"}, headers={"origin": origin})
    assert reply.status_code == 200, reply.text
    assert reply.headers["access-control-allow-origin"] == origin
    assert "x-model-version" in reply.headers["access-control-expose-headers"]


def test_an_allowed_page_can_read_errors(app: Api) -> None:
    reply = httpx.post(f"{app.url}/v1/classify", json={"input": "a"}, headers={"origin": PAGE})
    assert reply.status_code == 401 and reply.headers["access-control-allow-origin"] == PAGE


def test_other_pages_are_refused(app: Api) -> None:
    preflight = httpx.options(f"{app.url}/v1/classify", headers={"origin": OTHER, **PREFLIGHT})
    assert preflight.status_code == 400 and "access-control-allow-origin" not in preflight.headers
    with app.client(KEY) as client:
        reply = client.post("/v1/classify", json={"model": "mood", "input": "a"}, headers={"origin": OTHER})
        assert reply.status_code == 403 and "access-control-allow-origin" not in reply.headers
        assert "access-control-allow-origin" not in client.get("/v1/models", headers={"origin": OTHER}).headers


def test_by_default_no_page_is_allowed(api: Api) -> None:
    preflight = httpx.options(f"{api.url}/v1/classify", headers={"origin": PAGE, **PREFLIGHT})
    assert preflight.status_code == 405 and "access-control-allow-origin" not in preflight.headers
