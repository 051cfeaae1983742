"""Direct routes: which routes are direct, and that their replies are the same as through FastAPI."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from app.api.http.direct import DirectRoutes
from tests.serving import Api, Shelf

HOT = ("/v1/classify", "/v1/embeddings", "/v1/completions", "/tokenize", "/livez")
VARYING = re.compile(r"(classify|cmpl|req)-[0-9a-f]{32}|\"created\":\d+")


def holds(router: APIRouter, method: str = "POST", path: str = "/a") -> bool:
    return DirectRoutes([router]).holds({"method": method, "path": path})


async def alone(request: Request) -> Response:
    return Response()


async def with_parameter(request: Request, limit: int) -> Response:
    return Response()


def blocking(request: Request) -> Response:
    return Response()


@pytest.mark.parametrize(
    ("path", "endpoint", "direct"),
    [("/a", alone, True), ("/{name}", alone, False), ("/a", with_parameter, False), ("/a", blocking, False)],
)
def test_a_route_that_needs_nothing_but_the_request_is_direct(path: str, endpoint: Any, direct: bool) -> None:
    router = APIRouter()
    router.add_api_route(path, endpoint, methods=["POST"], response_model=None)
    assert holds(router, path=path) == direct
    assert not holds(router, "GET", path)


def test_a_route_with_dependencies_is_not_direct() -> None:
    dependent, below = APIRouter(), APIRouter(dependencies=[Depends(alone)])
    dependent.add_api_route("/a", alone, methods=["POST"], dependencies=[Depends(alone)], response_model=None)
    below.add_api_route("/a", alone, methods=["POST"], response_model=None)
    assert not holds(dependent) and not holds(below)


def test_head_is_held_where_get_is() -> None:
    router = APIRouter()
    router.add_api_route("/a", alone, methods=["GET"], response_model=None)
    assert holds(router, "HEAD") and not holds(router, "POST")


def test_frequent_routes_are_direct(api: Api) -> None:
    direct = api.app._direct  # type: ignore[attr-defined]
    assert all(any(direct.holds({"method": method, "path": path}) for method in ("GET", "POST")) for path in HOT)


def seen(reply: httpx.Response) -> tuple[int, dict[str, str], str]:
    """A reply without the parts that differ between requests."""
    varying = {"date", "x-request-id", "x-total-time", "x-queue-time", "x-inference-time", "content-length"}
    headers = {name: "" if name in varying else value for name, value in reply.headers.items()}
    return reply.status_code, headers, VARYING.sub("", reply.text)


@pytest.mark.parametrize("headers", [{}, {"x-request-id": "mine"}, {"content-type": "text/plain"}, {"x-model": "mood"}])
def test_direct_replies_are_those_of_the_layers(
    api: Api, shelf: Shelf, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str]
) -> None:
    shelf.classifier("mood")
    shelf.generator("echo")
    bodies: list[tuple[str, str, bytes]] = [
        ("POST", "/v1/classify", b'{"model":"mood","input":["a","b"]}'),
        ("POST", "/v1/classify", b'{"input":"a"}'),
        ("POST", "/v1/classify", b'{"model":"mood","input":"a","tok_k":1}'),
        ("POST", "/v1/classify", b""),
        ("POST", "/v1/classify", b"x" * (api.settings.max_body_bytes + 1)),
        ("POST", "/v1/embeddings", b'{"model":"nobody","input":"a"}'),
        ("POST", "/v1/embeddings", b'{"model":"mood","input":"a","encoding_format":"base64"}'),
        ("POST", "/v1/completions", b'{"model":"echo","prompt":"abc","max_tokens":3}'),
        ("POST", "/v1/completions", b'{"model":"echo","prompt":"abc","max_tokens":3,"stream":true}'),
        ("POST", "/tokenize", b'{"model":"mood","prompt":"abc"}'),
        ("GET", "/v1/classify", b""),
        ("GET", "/livez", b""),
        ("HEAD", "/livez", b""),
    ]
    with api.client() as client:
        for method, path, body in bodies:
            request = {"method": method, "url": path, "content": body, "headers": headers}
            direct = seen(client.request(**request))
            with monkeypatch.context() as layered:
                layered.setattr(api.app._direct, "_table", {})  # type: ignore[attr-defined]
                assert seen(client.request(**request)) == direct, (path, body[:60])
