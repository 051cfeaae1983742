"""Errors in the shape of the dialect that claims a path, whether or not the path has a route."""

from __future__ import annotations

from typing import Any, cast

import httpx
import pytest
from fastapi import APIRouter
from fastapi.testclient import TestClient

from app.api import application
from app.api.http.dialects import Dialect
from app.api.http.services import Services
from app.api.huggingface.dialect import render_error as render_huggingface
from app.errors import Conflict, InvalidRequest, OstinatoError, Overloaded, Unauthorized
from app.settings import Settings
from tests.serving import Api

OPENAI, HUGGING_FACE, OPEN_INFERENCE = {"message", "type", "param", "code"}, {"error", "error_type"}, {"error"}
SHAPES = [
    ("/nothing", OPENAI),
    ("/v1/nothing", OPENAI),
    ("//", OPENAI),
    ("/v2", OPEN_INFERENCE),
    ("/v2/models/x", OPEN_INFERENCE),
    ("/v22", OPENAI),
    ("/models/x", HUGGING_FACE),
    ("/generate", HUGGING_FACE),
    ("/generate_stream", HUGGING_FACE),
    ("/embed/x", HUGGING_FACE),
    ("/embeddings", OPENAI),
]


def shape_of(reply: httpx.Response) -> set[str]:
    body: dict[str, Any] = reply.json()
    return set(body["error"]) if isinstance(body["error"], dict) else set(body)


def test_errors_have_the_shape_of_the_dialect(api: Api) -> None:
    with api.client() as client:
        for path, shape in SHAPES:
            reply = client.send(client.build_request("GET", api.url + path))
            assert (reply.status_code, shape_of(reply)) == (404, shape), path
        wrong_method = client.post("/")
        assert (wrong_method.status_code, shape_of(wrong_method)) == (405, HUGGING_FACE)


def test_middleware_replies_in_the_shape_of_the_dialect(api: Api) -> None:
    with api.client() as client:
        for path, shape in SHAPES:
            request = client.build_request("GET", api.url + path, headers={"content-encoding": "gzip"})
            reply = client.send(request)
            assert shape_of(reply) == shape, path
            assert reply.status_code == 415, path


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (InvalidRequest("no"), 422, "validation"),
        (Overloaded("no"), 429, "overloaded"),
        (Unauthorized("no"), 401, "invalid_api_key"),
        (Conflict("no"), 409, "conflict"),
    ],
)
def test_hugging_faces_statuses(error: OstinatoError, status: int, kind: str) -> None:
    assert render_huggingface(error) == (status, {"error": "no", "error_type": kind})


def test_a_dialect_is_added_by_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    router = APIRouter()

    @router.get("/new/route")
    async def route() -> None:
        raise InvalidRequest("no")

    dialect = Dialect(inference=(router,), prefixes=("/new",), render_error=lambda error: (418, {"why": error.message}))
    monkeypatch.setattr(application, "DIALECTS", (*application.DIALECTS, dialect))
    app = application.create_app(Settings(), lambda _: cast(Services, None))
    client = TestClient(app, base_url="http://localhost")  # without its lifespan, since no service is needed
    for path, message in (("/new/route", "no"), ("/new/other", "there is no route '/new/other'")):
        reply = client.get(path)
        assert reply.status_code == 418 and reply.json()["why"].startswith(message)
