"""Ollama's routes that list models, describe a model, and return the service's version."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from app.api.http.auth import Principal, principal_of
from app.api.http.bodies import JsonBody
from app.api.http.caller import LATEST
from app.api.http.replies import JsonReply
from app.api.http.services import ServicesDep, services_of
from app.api.ollama import model_objects as objects
from app.api.ollama.model_objects import OllamaModel, OllamaModels, RunningModel, RunningModels
from app.api.ollama.references import CURL
from app.api.openapi.describe import COMMON, LOOKUP, reads, replies
from app.errors import NotFound
from app.registry.records import CHAMPION, Version
from app.registry.search import Filter
from app.registry.service import PAGE_LIMIT, Registry
from app.wire.engine import VersionStatus

router = APIRouter(prefix="/api", tags=["Ollama"])
NEVER = "9999-12-31T23:59:59Z"


class ShowRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A request to describe a version. Only `model` has an effect."""

    model: str
    verbose: bool | None = False
    system: str | None = None
    template: str | None = None


class OllamaRelease(msgspec.Struct, frozen=True):
    """The service's release."""

    version: str


_body = JsonBody(ShowRequest, media=CURL)


@router.get(
    "/tags",
    operation_id="ollama_tags",
    summary="List models (Ollama)",
    response_model=None,
    responses=replies(OllamaModels, {"models": [objects.MODEL]}, COMMON),
)
async def ollama_tags(request: Request) -> Response:
    """Returns the newest 1,000 versions: each model as `name:latest`, followed by its versions as `name:number`."""
    registry, principal = services_of(request).registry, principal_of(request)
    return JsonReply(OllamaModels(await asyncio.to_thread(_models, registry, principal)))


def _models(registry: Registry, principal: str) -> list[OllamaModel]:
    page = registry.search(principal, Filter(), limit=PAGE_LIMIT)
    groups: dict[str, list[Version]] = {}
    for version in page.items:
        groups.setdefault(version.model, []).append(version)
    models = []
    for name, versions in sorted(groups.items()):
        champion = next((version for version in versions if CHAMPION in version.aliases), versions[0])
        default = registry.resolve(name, principal) if page.has_more else champion
        models += [_model(f"{name}{LATEST}", default), *(_model(version.ref, version) for version in versions)]
    return models


def _model(name: str, version: Version) -> OllamaModel:
    details = objects.details(version.architecture, version.parameters)
    modified = objects.moment(version.created_at)
    return OllamaModel(name, name, modified, objects.size_of(version), version.digest, details)


@router.post(
    "/show",
    operation_id="ollama_show",
    summary="Describe a version (Ollama)",
    description="Returns the architecture, the size and the capabilities of a version.",
    response_model=None,
    openapi_extra=reads(ShowRequest, model={"model": "demo-text-lstm"}),
    responses=replies(objects.OllamaDescription, objects.DESCRIPTION, LOOKUP),
)
async def ollama_show(request: Request) -> Response:
    body = await _body.read(request)
    registry, principal = services_of(request).registry, principal_of(request)
    version = await asyncio.to_thread(registry.resolve, body.model.removesuffix(LATEST), principal)
    return JsonReply(objects.description(version))


@router.get(
    "/ps",
    operation_id="ollama_ps",
    summary="List the versions in memory (Ollama)",
    response_model=None,
    responses=replies(RunningModels, {"models": [objects.RUNNING]}, COMMON),
)
async def ollama_ps(services: ServicesDep, principal: Principal) -> Response:
    """Returns the loaded versions that this key may use."""
    beats = [client.heartbeat for client in services.inference.pool.living if client.heartbeat is not None]
    statuses = {(beat.pid, status.digest): (status, beat.device) for beat in beats for status in beat.versions}
    names = await asyncio.to_thread(
        services.registry.references, [status.digest for status, _ in statuses.values()], principal
    )
    versions = await asyncio.to_thread(_resolved, services.registry, names.values(), principal)
    running = [
        _running(status, device, versions[names[status.digest]])
        for status, device in statuses.values()
        if names.get(status.digest) in versions
    ]
    return JsonReply(RunningModels(running))


def _resolved(registry: Registry, references: Iterable[str], principal: str) -> Mapping[str, Version]:
    """Return the version of each reference. Leaves out versions that have just been deleted."""
    versions = {}
    for reference in references:
        try:
            versions[reference] = registry.resolve(reference, principal)
        except NotFound:
            continue
    return versions


def _running(status: VersionStatus, device: str, version: Version) -> RunningModel:
    details = objects.details(version.architecture, version.parameters)
    on_device = 0 if device == "cpu" else status.bytes
    context = int(version.config.get("context_length", 0))
    name = version.ref
    return RunningModel(name, name, status.bytes, on_device, version.digest, details, NEVER, context)


@router.get(
    "/version",
    operation_id="ollama_version",
    summary="Read the version of the service (Ollama)",
    response_model=None,
    responses=replies(OllamaRelease, {"version": "0.1.0"}, COMMON),
)
async def ollama_version(request: Request) -> Response:
    """Returns the running Ostinato release."""
    return JsonReply(OllamaRelease(request.app.version))
