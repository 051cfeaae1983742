"""Calls the endpoints of simple routes directly, bypassing FastAPI's layers.

FastAPI passes each request through about ten layers, which take several times longer than an endpoint that decodes and
encodes with msgspec. A route does not need these layers if its path is fixed and its endpoint is a coroutine function
with the request as its only parameter. The OpenAPI document describes such a route like any other route, but the
middleware calls its endpoint directly.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import get_type_hints

from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.api.http.errors import client_disconnected, response
from app.api.http.headers import IndexedHeaders
from app.errors import OstinatoError

Endpoint = Callable[[Request], Awaitable[Response]]
RouteTable = Mapping[tuple[str, str], tuple[APIRoute, Endpoint]]  # (method, path) -> route and its endpoint


class DirectRequest(Request):
    """A request whose headers are looked up in an index, and whose body is usually read in one piece."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        super().__init__(scope, receive)
        self._headers = IndexedHeaders(scope)

    async def body(self) -> bytes:
        """Read the body. Raises ClientDisconnect if the client disconnects before sending the whole body."""
        pieces: list[bytes] = []
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            pieces.append(message.get("body", b""))
            if not message.get("more_body", False):
                return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class DirectRoutes:
    """An ASGI application for direct routes. `holds` checks whether a request is for one of these routes."""

    def __init__(self, routers: Iterable[APIRouter]) -> None:
        self._table: RouteTable = {
            (method, route.path): (route, route.endpoint)
            for router in routers
            for route in _direct(router)
            for method in route.methods or ()
        }

    def holds(self, scope: Scope) -> bool:
        method = scope["method"]
        return ("GET" if method == "HEAD" else method, scope["path"]) in self._table

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that `holds` has accepted."""
        scope["route"], endpoint = self._table[scope["method"], scope["path"]]
        try:
            reply = await endpoint(DirectRequest(scope, receive))
        except OstinatoError as error:
            reply = response(error, scope)
        except ClientDisconnect:
            reply = client_disconnected(scope)
        await reply(scope, receive, send)


def _direct(router: APIRouter) -> Iterator[APIRoute]:
    """The direct routes of a router."""
    for route in () if router.dependencies else router.routes:
        if isinstance(route, APIRoute) and not route.dependencies and _needs_request_alone(route):
            yield route


def _needs_request_alone(route: APIRoute) -> bool:
    endpoint = route.endpoint
    if "{" in route.path or not inspect.iscoroutinefunction(endpoint):
        return False
    hints = get_type_hints(endpoint)
    return [hints.get(name) for name in inspect.signature(endpoint).parameters] == [Request]
