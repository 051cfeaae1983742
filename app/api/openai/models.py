"""`/v1/models`: models (`name`) and ready versions (`name:number`), in OpenAI's format."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import msgspec
from fastapi import APIRouter
from starlette.responses import Response

from app.api.http.auth import Principal
from app.api.http.replies import JsonReply
from app.api.http.services import ServicesDep
from app.api.openapi.describe import COMMON, LOOKUP, replies
from app.api.openapi.parameters import OWN_MODEL
from app.errors import InvalidRequest, NotFound
from app.registry.catalog import Entry
from app.registry.records import ModelReference, Version
from app.registry.service import CATALOG_LIMIT, Registry
from app.wording import quantity

router = APIRouter(tags=["models"])


class ModelCard(msgspec.Struct, frozen=True):
    """A model or a version. `id` can be sent as `model` in requests, and currently refers to the version `version`.

    `input` is the kind of input: tokens for texts, or features for numeric sequences. `shutdown_date` is always null,
    because versions are available until they are deleted."""

    id: str
    created: int
    owned_by: str
    task: str
    architecture: str
    version: int
    aliases: list[str]
    digest: str
    parameters: int
    input: str
    shutdown_date: int | None = None
    object: str = "model"


class ModelSummary(msgspec.Struct, frozen=True):
    """A model or a version, in the format that clients of `/v1/systemone` read. `release_date` is in UTC."""

    name: str
    description: str
    release_date: str


class ModelList(msgspec.Struct, frozen=True):
    """A page of models and versions. `models` describes the entries of `data` for clients of `/v1/systemone`."""

    data: list[ModelCard]
    models: list[ModelSummary]
    has_more: bool = False
    object: str = "list"


class ModelDeleted(msgspec.Struct, frozen=True):
    """The version that was deleted."""

    id: str
    deleted: bool = True
    object: str = "model"


_CARD: dict[str, Any] = {
    "id": "demo-sentiment-lstm:1",
    "created": 1745383065,
    "owned_by": "local",
    "task": "classification",
    "architecture": "lstm",
    "version": 1,
    "aliases": ["champion"],
    "digest": "0" * 64,
    "parameters": 412000,
    "input": "tokens",
    "shutdown_date": None,
    "object": "model",
}
_SUMMARY: dict[str, Any] = {
    "name": "demo-sentiment-lstm:1",
    "description": "lstm for classification, 412,000 parameters",
    "release_date": "2025-04-23",
}


@router.get(
    "/v1/models",
    operation_id="list_models",
    summary="List models",
    description=(
        "Returns the models that the API key may use, as `name`, and their ready versions, as `name:number`. For the "
        "next page, send the last id of this page as `after`."
    ),
    response_model=None,
    responses=replies(ModelList, {"data": [_CARD], "models": [_SUMMARY], "has_more": False, "object": "list"}, COMMON),
)
async def list_models(
    services: ServicesDep, principal: Principal, after: str | None = None, limit: int = CATALOG_LIMIT
) -> Response:
    page = await asyncio.to_thread(services.registry.catalog, principal, after=after, limit=limit)
    cards = [_card(entry.id, entry) for entry in page.items]
    return JsonReply(ModelList(cards, [_summary(card) for card in cards], page.has_more))


@router.get(
    "/v1/models/{model:path}",
    operation_id="retrieve_model",
    summary="Retrieve the version of a model reference",
    description=(
        "Returns the version that a model reference currently refers to. `model` is name, name:3, name@alias, "
        "name@sha256:… or the id of a job's checkpoint, ftckpt-…."
    ),
    response_model=None,
    responses=replies(ModelCard, _CARD, LOOKUP),
)
async def retrieve_model(model: str, services: ServicesDep, principal: Principal) -> Response:
    version = await asyncio.to_thread(services.registry.resolve, model, principal)
    return JsonReply(_card(model, version))


@router.delete(
    "/v1/models/{model:path}",
    operation_id="delete_model",
    summary="Delete a version",
    description="`model` is name:number. Fails with `version_in_use` while an alias points to the version.",
    response_model=None,
    responses=replies(ModelDeleted, {"id": f"{OWN_MODEL}:1", "deleted": True, "object": "model"}, LOOKUP),
)
async def delete_model(model: str, services: ServicesDep, principal: Principal) -> Response:
    await asyncio.to_thread(_delete, services.registry, model, principal)
    return JsonReply(ModelDeleted(model))


def _delete(registry: Registry, model: str, principal: str) -> None:
    try:
        reference = ModelReference.parse(model)
    except InvalidRequest as error:
        raise NotFound(error.message, code="model_not_found", param="model") from None
    if reference.version is None:
        registry.resolve(model, principal)  # an unknown model is reported first, with NotFound
        raise InvalidRequest(f"model must include a version number: {reference.name}:<number>", param="model")
    registry.delete_version(reference.name, reference.version, principal)


def _card(id_: str, version: Version | Entry) -> ModelCard:
    return ModelCard(
        id_,
        int(version.created_at),
        version.owner,
        version.task,
        version.architecture,
        version.version,
        list(version.aliases),
        version.digest,
        version.parameters,
        version.input,
    )


def _summary(card: ModelCard) -> ModelSummary:
    created = datetime.fromtimestamp(card.created, UTC)
    description = f"{card.architecture} for {card.task}, {quantity(card.parameters, 'parameter')}"
    return ModelSummary(card.id, description, created.date().isoformat())
