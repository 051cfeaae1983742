"""`/models`: TorchServe's management routes that describe models and set the default version."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from app.api.http.aliases import load_if_required
from app.api.http.auth import Principal
from app.api.http.replies import JsonReply
from app.api.http.services import ServicesDep
from app.api.openapi.describe import LOOKUP, replies
from app.api.torchserve.model_objects import EXAMPLE, ModelDescription, ModelEntry, ModelPage, StatusReply, describe
from app.api.torchserve.references import reference_of, version_number
from app.registry.records import CHAMPION

router = APIRouter(prefix="/models", tags=["TorchServe"])
PAGE = 100


@router.get(
    "",
    operation_id="list_served_models",
    summary="List models",
    response_model=None,
    responses=replies(ModelPage, {"models": [{"modelName": "reviews", "modelUrl": "reviews:1"}]}, LOOKUP),
)
async def list_served_models(
    services: ServicesDep, principal: Principal, limit: int = PAGE, next_page_token: str | None = None
) -> Response:
    """Returns the models that have a ready version, ordered by name.

    `nextPageToken` is present if there are more models.
    """
    page = await asyncio.to_thread(services.registry.list, principal, after=next_page_token, limit=limit)
    entries = [ModelEntry(model.name, model.newest.ref) for model in page.items if model.newest is not None]
    return JsonReply(ModelPage(entries, page.items[-1].name if page.has_more else None))


_DESCRIBED: dict[str, Any] = {
    "response_model": None,
    "responses": replies(ModelDescription, [EXAMPLE], LOOKUP),
}


@router.get("/{name}", operation_id="describe_model", summary="Describe the default version of a model", **_DESCRIBED)
async def describe_model(services: ServicesDep, principal: Principal, name: str) -> Response:
    """Describes the default version: the champion or, if there is none, the newest ready version."""
    version = await asyncio.to_thread(services.registry.resolve, name, principal)
    return JsonReply([describe(version, services.inference.pool)])


@router.get("/{name}/all", operation_id="describe_model_versions", summary="Describe every version", **_DESCRIBED)
async def describe_model_versions(services: ServicesDep, principal: Principal, name: str) -> Response:
    """Returns up to 1,000 versions, newest first."""
    page = await asyncio.to_thread(services.registry.versions, name, principal, status="ready", limit=1000)
    return JsonReply([describe(version, services.inference.pool) for version in page.items])


@router.get("/{name}/{version}", operation_id="describe_model_version", summary="Describe one version", **_DESCRIBED)
async def describe_model_version(services: ServicesDep, principal: Principal, name: str, version: str) -> Response:
    """Describes one version. `version` is a number such as `1`, which can also be written as `1.0`."""
    resolved = await asyncio.to_thread(services.registry.resolve, reference_of(name, version), principal)
    return JsonReply([describe(resolved, services.inference.pool)])


@router.put(
    "/{name}/{version}/set-default",
    operation_id="set_default_version",
    summary="Choose the default version of a model",
    response_model=None,
    responses=replies(
        StatusReply,
        {"status": 'Default version successfully updated for model "reviews" to "1"'},
        (*LOOKUP, 504),
    ),
)
async def set_default_version(services: ServicesDep, principal: Principal, name: str, version: str) -> Response:
    """Points the alias `champion` at this version. If the alias is required, the version is loaded first."""
    number = version_number(version)
    loads = await load_if_required(services, principal, name, CHAMPION, number)
    await asyncio.to_thread(services.registry.set_alias, name, CHAMPION, number, principal, loads=loads)
    return JsonReply(StatusReply(f'Default version successfully updated for model "{name}" to "{number}"'))
