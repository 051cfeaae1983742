"""The model repository: lists, loads and unloads versions."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Request
from msgspec import Meta
from starlette.responses import Response

from app.api.http.auth import principal_of
from app.api.http.bodies import JsonBody
from app.api.http.presence import attended
from app.api.http.replies import JsonReply
from app.api.http.services import services_of
from app.api.openapi.describe import COMMON, INFERENCE, LOOKUP, failures, reads, replies
from app.errors import InvalidRequest
from app.registry.search import Filter
from app.registry.service import PAGE_LIMIT

router = APIRouter(prefix="/v2/repository", tags=["Open Inference Protocol"])
Unloaded = Annotated[dict[str, bool], Meta(extra_json_schema={"propertyNames": {"enum": ["unload_dependents"]}})]


class IndexRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A request for the index, which lists the ready versions. Therefore, `ready` has no effect."""

    ready: bool | None = None


class IndexEntry(msgspec.Struct, frozen=True):
    """A version in the index."""

    name: str
    version: str
    state: str
    reason: str


class LoadRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A request to load a model. Configurations and files cannot be sent."""

    parameters: Annotated[dict[str, Any], Meta(max_length=0)] | None = None


class UnloadRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A request to unload a model. `unload_dependents` has no effect, because versions have no dependents."""

    parameters: Unloaded | None = None

    def __post_init__(self) -> None:
        for name in self.parameters or ():
            if name != "unload_dependents":
                raise ValueError(f"the parameter {name[:80]!a} is unknown; did you mean 'unload_dependents'?")


def _optional(kind: type[msgspec.Struct], **examples: dict[str, Any]) -> dict[str, Any]:
    """Return `openapi_extra` for a route with an optional request body."""
    described = reads(kind, **examples)
    described["requestBody"]["required"] = False
    return described


_index, _load, _unload = JsonBody(IndexRequest), JsonBody(LoadRequest), JsonBody(UnloadRequest)
_ENTRY = {"name": "demo-sentiment-lstm", "version": "1", "state": "READY", "reason": ""}


async def _read(request: Request, body: JsonBody[Any]) -> None:
    """Validate the body, which may be empty."""
    if payload := await request.body():
        body.decode(payload)


@router.post(
    "/index",
    operation_id="repository_index",
    summary="List versions (Triton)",
    description="Returns the newest 1,000 versions.",
    response_model=None,
    openapi_extra=_optional(IndexRequest, all={}),
    responses=replies(IndexEntry, [_ENTRY], COMMON),
)
async def repository_index(request: Request) -> Response:
    await _read(request, _index)
    registry, principal = services_of(request).registry, principal_of(request)
    page = await asyncio.to_thread(registry.search, principal, Filter(), limit=PAGE_LIMIT)
    return JsonReply([IndexEntry(version.model, str(version.version), "READY", "") for version in page.items])


_EMPTY: dict[int | str, dict[str, Any]] = {200: {"description": "Success"}}


@router.post(
    "/models/{name}/load",
    operation_id="load_model",
    summary="Load a model (Triton)",
    description="Loads the version that the name refers to into an engine. Requests also load versions when necessary.",
    response_model=None,
    openapi_extra=_optional(LoadRequest, load={}),
    response_class=Response,
    responses=_EMPTY | failures(*INFERENCE),
)
async def load_model(request: Request, name: str) -> Response:
    await _read(request, _load)
    inference = services_of(request).inference
    version = await inference.versions.get(name, principal_of(request))
    await attended(request, inference.load(version))
    return Response()


@router.post(
    "/models/{name}/unload",
    operation_id="unload_model",
    summary="Unload a model (Triton)",
    description="Frees the memory of the version that the name refers to, after its open requests have ended. The next "
    "request loads the version again.",
    response_model=None,
    openapi_extra=_optional(UnloadRequest, unload={"parameters": {"unload_dependents": False}}),
    response_class=Response,
    responses=_EMPTY | failures(*LOOKUP),
)
async def unload_model(request: Request, name: str) -> Response:
    await _read(request, _unload)
    services = services_of(request)
    version = await services.inference.versions.find(name, principal_of(request))
    required = await asyncio.to_thread(services.registry.required_aliases)
    named = any((alias.model, alias.version) == (version.model, version.version) for alias in required)
    if named or services.readiness.requires(version.digest):  # a required version may have the same content
        raise InvalidRequest(f"{version.ref} has a required alias, so it must stay loaded", code="version_required")
    services.inference.pool.unload(version.digest)
    return Response()
