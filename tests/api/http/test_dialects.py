"""An error has the format of the dialect to which the path belongs, even if the path has no route."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import httpx
import msgspec
import pytest
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from app.api import application
from app.api.application import DIALECTS
from app.api.http.dialects import Dialect, dialect_of
from app.api.huggingface import dialect as huggingface
from app.api.openai import dialect as openai
from app.api.openapi.describe import MEANINGS, complete, failures
from app.api.openinference import dialect as openinference
from app.api.torchserve import dialect as torchserve
from app.errors import (
    Conflict,
    Forbidden,
    InvalidRequest,
    NotFound,
    OstinatoError,
    Overloaded,
    TooLarge,
    Unauthorized,
    Unavailable,
)
from app.settings import Settings
from tests.api.rendered import is_rendered
from tests.serving import Api, application_of

OPENAI, HUGGING_FACE, OPEN_INFERENCE = openai.DIALECT, huggingface.DIALECT, openinference.DIALECT
TORCHSERVE = torchserve.DIALECT
PATHS = [
    ("/nothing", OPENAI),
    ("/v1/nothing", OPENAI),
    ("//", OPENAI),
    ("/v2/x", OPEN_INFERENCE),
    ("/v2/models/x/y/z", OPEN_INFERENCE),
    ("/v22", OPENAI),
    ("/models/x/y/z", TORCHSERVE),
    ("/generate/x", HUGGING_FACE),
    ("/generate_stream/x", HUGGING_FACE),
    ("/embed/x", huggingface.TEI),
    ("/embeddings", OPENAI),
    *(
        (f"{prefix}/no/such/route", dialect)
        for dialect in DIALECTS
        for prefix in dialect.prefixes
        if " " not in prefix and prefix != "/"
    ),
]
SIMPLE_ERRORS = [InvalidRequest, Unauthorized, Forbidden, NotFound, Conflict, TooLarge, Overloaded, Unavailable]


def has_form(reply: httpx.Response, dialect: Dialect) -> bool:
    """Whether a reply is an error in the format of a dialect."""
    forms = {d.error_reply for d in DIALECTS if is_form(reply.content, d.error_reply)}
    return forms == {dialect.error_reply}


def is_form(body: bytes, form: type[msgspec.Struct]) -> bool:
    try:
        value = msgspec.json.decode(body, type=form)
    except msgspec.ValidationError:
        return False
    return bool(msgspec.to_builtins(value) == msgspec.json.decode(body))  # a struct ignores fields it does not know


def routes_of(dialect: Dialect) -> list[APIRoute]:
    routers = (*dialect.inference, *dialect.management)
    return [route for router in routers for route in router.routes if isinstance(route, APIRoute)]


def test_errors_have_the_form_of_their_dialect(api: Api) -> None:
    with api.client() as client:
        for path, dialect in PATHS:
            reply = client.send(client.build_request("GET", api.url + path))
            assert is_rendered(reply, NotFound, code="route_not_found"), (path, reply.text)
            assert has_form(reply, dialect), (path, reply.text)
        for path, dialect in (("/models/x/no/such/route", HUGGING_FACE), ("/models/x/v1/nothing", OPENAI)):
            reply = client.post(path)
            assert reply.status_code == 404 and has_form(reply, dialect)
        wrong_method = client.get("/predict")
        assert wrong_method.status_code == 405 and has_form(wrong_method, HUGGING_FACE)


def test_middleware_replies_in_the_form_of_the_dialect(api: Api) -> None:
    with api.client() as client:
        for path, dialect in PATHS:
            request = client.build_request("GET", api.url + path, headers={"content-encoding": "br"})
            reply = client.send(request)
            assert has_form(reply, dialect), path
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
    assert HUGGING_FACE.render_error(error) == (status, {"error": "no", "error_type": kind})


@pytest.mark.parametrize("dialect", DIALECTS)
def test_errors_have_the_form_that_the_dialect_declares(dialect: Dialect) -> None:
    for kind in SIMPLE_ERRORS:
        status, body = dialect.render_error(kind("no"))
        assert is_form(msgspec.json.encode(body), dialect.error_reply), kind
        assert 400 <= status < 600
        if kind.status in (401, 403, 429):
            assert status == kind.status


def test_no_two_dialects_have_the_same_route_and_each_renders_the_errors_of_its_own() -> None:
    owners: dict[tuple[str, str], Dialect] = {}
    for dialect in DIALECTS:
        for route in routes_of(dialect):
            path = re.sub(r"{[^}]*}", "x", route.path)
            for method in route.methods:
                assert owners.setdefault((method, path), dialect) is dialect, f"two dialects have {method} {route.path}"
            if route.path != "/":  # its POST belongs to Hugging Face's dialect, its GET to this service
                claimed = dialect_of(method, path, DIALECTS)
                message = f"{route.path} has the errors of another dialect: add a prefix, or choose another path"
                assert claimed.render_error is dialect.render_error, message


def test_documented_errors_have_the_form_of_the_dialect() -> None:
    def document_of(dialect: Dialect) -> Any:
        router = APIRouter()

        @router.get("/new/route", responses=failures(400, 404))  # type: ignore[arg-type]
        async def route(limit: int = 5) -> None: ...

        app = FastAPI()
        app.include_router(router)
        document = complete(app.openapi(), False, frozenset(), [replace(dialect, prefixes=("/new",))])
        return document, document["paths"]["/new/route"]["get"]["responses"]

    document, responses = document_of(HUGGING_FACE)
    assert sorted(responses) == ["200", "404", "422", "429", "503"]
    content = responses["422"]["content"]["application/json"]
    assert content["schema"] == {"$ref": "#/components/schemas/HuggingFaceError"}
    assert content["example"] == {"error": MEANINGS[400], "error_type": "validation"}
    assert document["components"]["schemas"]["HuggingFaceError"]["required"] == ["error", "error_type"]
    _, responses = document_of(OPENAI)
    assert sorted(responses) == ["200", "400", "404", "429", "503"]
    assert responses["429"]["content"]["application/json"]["example"]["error"]["type"] == "rate_limit_error"


def test_a_dialect_is_added_by_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    router = APIRouter()

    @router.get("/new/route")
    async def route() -> None:
        raise InvalidRequest("no")

    dialect = Dialect(inference=(router,), prefixes=("/new",), render_error=lambda error: (418, {"why": error.message}))
    monkeypatch.setattr(application, "DIALECTS", (*application.DIALECTS, dialect))
    app = application_of(Settings())
    client = TestClient(app, base_url="http://localhost")  # without its lifespan, since no service is needed
    for path, message in (("/new/route", "no"), ("/new/other", "there is no route '/new/other'")):
        reply = client.get(path)
        assert reply.status_code == 418 and reply.json()["why"].startswith(message)
