"""The ASGI application: routes, middleware, and the lifetime of the services that they use."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.middleware import Middleware
from fastapi.openapi.utils import get_openapi
from starlette.types import Receive, Scope, Send

from app.api.decisions.dialect import DECISIONS, SYSTEM_ONE
from app.api.http import errors
from app.api.http.access_log import AccessLog
from app.api.http.auth import PUBLIC, Authentication
from app.api.http.direct import DirectRoutes
from app.api.http.middleware import Envelope
from app.api.http.rates import RequestRates
from app.api.http.release import release
from app.api.http.services import Services, build_services
from app.api.huggingface import dialect as huggingface
from app.api.native import dialect as native
from app.api.ollama import dialect as ollama
from app.api.openai import dialect as openai
from app.api.openapi.describe import complete
from app.api.openinference import dialect as openinference
from app.api.torchserve import dialect as torchserve
from app.binding import check_bind
from app.settings import Settings

DESCRIPTION = (
    "Train, register and serve sequence models: linear, RNN, LSTM, GRU and Transformer. A model reference is `name`, "
    "`name:3`, `name@alias` or `name@sha256:…`. Any request may also be answered with 408 if it arrives too slowly, or "
    "with 431 if its headers are too large; the routes do not list these statuses."
)
DIALECTS = (
    openai.DIALECT,
    native.DIALECT,
    DECISIONS,
    SYSTEM_ONE,
    huggingface.DIALECT,
    huggingface.TEI,
    openinference.DIALECT,
    torchserve.DIALECT,
    ollama.DIALECT,
)


class Application(FastAPI):
    """A FastAPI application in which direct routes bypass FastAPI's layers, but not the middleware."""

    def __init__(self, settings: Settings, rates: RequestRates, **options: Any) -> None:
        self.access_log = AccessLog()
        authentication = Authentication(settings)
        shared: dict[str, Any] = {
            "settings": settings, "authentication": authentication, "rates": rates, "log": self.access_log,
        }  # fmt: skip
        super().__init__(**options, middleware=[Middleware(Envelope, **shared)])
        self._direct = DirectRoutes(r for dialect in DIALECTS for r in (*dialect.inference, *dialect.management))
        self._wrapped = Envelope(self._direct, **shared)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._direct.holds(scope):
            scope["app"] = self
            await self._wrapped(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def create_app(settings: Settings, build: Callable[[Settings], Services] = build_services) -> FastAPI:
    """Create the application. Raises SettingError if required API keys are missing or a URL is invalid."""
    check_bind(settings)
    services = build(settings)

    @asynccontextmanager
    async def lifespan(app: Application) -> AsyncIterator[None]:
        app.state.services = services
        await services.start()
        try:
            yield
        finally:
            await services.close()
            app.access_log.write()

    app = Application(
        settings,
        RequestRates(services.rates),
        title="Ostinato",
        version=release(),
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
    )
    errors.install(app, DIALECTS)
    _include_routes(app)
    app.openapi = lambda: _document(app, bool(settings.keys))  # type: ignore[method-assign]
    return app


def _include_routes(app: FastAPI) -> None:
    # Routes are matched one after another, so the most frequently used routes are added first.
    for dialect in DIALECTS:
        for router in dialect.inference:
            app.include_router(router)
    for dialect in DIALECTS:
        for router in dialect.management:
            app.include_router(router)


def _document(app: FastAPI, secured: bool) -> dict[str, Any]:
    """Return the OpenAPI document, which is built only once. `secured` is true if the routes require an API key."""
    if app.openapi_schema is None:
        plain = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes, summary=None
        )
        app.openapi_schema = complete(plain, secured, PUBLIC, DIALECTS)
    return app.openapi_schema
