"""The application: routes, middleware and the life of the services behind them. Knows the order of things, no rule."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fastapi import FastAPI
from fastapi.middleware import Middleware
from fastapi.openapi.utils import get_openapi

from app.api.http import errors
from app.api.http.auth import PUBLIC, Authentication
from app.api.http.context import Services, build
from app.api.http.middleware import BodyLimit, Envelope
from app.api.native import classify, operations, registry, registry_files
from app.api.openai import completions, embeddings, files, fine_tuning, models, uploads
from app.api.openapi.describe import complete
from app.binding import check_bind
from app.settings import Settings

DESCRIPTION = (
    "Train, register and serve sequence models: RNN, LSTM, GRU and Transformer. "
    "A model reference is `name`, `name:3`, `name@alias` or `name@sha256:…`."
)
# the busiest routes come first: they are matched in this order
ROUTED = (classify, completions, embeddings, models, files, uploads, fine_tuning, registry, registry_files, operations)


def create_app(settings: Settings, build_context: Callable[[Settings], Services] = build) -> FastAPI:
    """Raises SettingError where the address would be open to everybody, or the database or the store cannot be."""
    check_bind(settings)
    context = build_context(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.context = context
        await context.start()
        try:
            yield
        finally:
            await context.close()

    app = FastAPI(
        title="Ostinato",
        version=_version(),
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
        middleware=[
            Middleware(Envelope),
            Middleware(Authentication, settings=settings),
            Middleware(BodyLimit, max_body=settings.max_body_bytes, max_upload=settings.max_upload_bytes),
        ],
    )
    errors.install(app)
    for module in ROUTED:
        app.include_router(module.router)
    app.openapi = lambda: _document(app, bool(settings.keys))  # type: ignore[method-assign]
    return app


def _document(app: FastAPI, secured: bool) -> dict[str, Any]:
    if app.openapi_schema is None:
        plain = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes, summary=None
        )
        app.openapi_schema = complete(plain, secured, PUBLIC)
    return app.openapi_schema


def _version() -> str:
    try:
        return version("ostinato")
    except PackageNotFoundError:
        return "0"
