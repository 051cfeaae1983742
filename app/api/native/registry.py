"""The registry over HTTP: find, import, export, name and delete versions.

Knows routes and forms; every rule (owners, names, aliases) is `app.registry`'s. What is moved as files is in
`registry_files`.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from msgspec import UNSET
from starlette.responses import Response

from app.api.http.auth import Principal
from app.api.http.bodies import JsonBody
from app.api.http.context import ServicesDep
from app.api.http.replies import JsonReply
from app.api.native.registry_objects import (
    ALIAS_EXAMPLE,
    EXAMPLE,
    MODEL_EXAMPLE,
    AliasMoveList,
    AliasObject,
    AliasRequest,
    ComparisonObject,
    ModelObject,
    RegistryDeleted,
    RegistryModelList,
    VersionList,
    VersionObject,
    alias_object,
    comparison_object,
    model_object,
    move_object,
    number_of,
    version_object,
)
from app.api.openapi.describe import COMMON, reads, replies
from app.api.openapi.parameters import MODEL, OTHER
from app.errors import InvalidRequest
from app.registry.search import Filter

router = APIRouter(prefix="/v1/registry", tags=["registry"])

FOUND = (*COMMON, 404)
MOST_COMPARED = 50
_alias_body = JsonBody(AliasRequest)

Order = Annotated[str | None, Query(description="asc or desc")]


async def alias_request(request: Request) -> AliasRequest:
    """A dependency: the checked body."""
    return await _alias_body.read(request)


@router.get(
    "/models",
    operation_id="list_registry_models",
    summary="List models",
    description="By name, each with its newest version. `search` is a part of names; `task` and `architecture` are "
    "those of the newest version.",
    response_model=None,
    responses=replies(RegistryModelList, {"object": "list", "data": [MODEL_EXAMPLE], "has_more": False}, COMMON),
)
def list_models(
    context: ServicesDep,
    principal: Principal,
    search: str | None = None,
    task: str | None = None,
    architecture: str | None = None,
    after: str | None = None,
    limit: int = 100,
    order: Order = None,
) -> Response:
    page = context.registry.list(
        principal,
        query=search,
        task=task,
        architecture=architecture,
        after=after,
        limit=limit,
        order=order or "asc",
    )
    return JsonReply(RegistryModelList("list", [model_object(model) for model in page.items], page.has_more))


@router.get(
    "/models/{name}",
    operation_id="retrieve_registry_model",
    summary="Look at a model",
    response_model=None,
    responses=replies(ModelObject, MODEL_EXAMPLE, FOUND),
)
def retrieve_model(context: ServicesDep, principal: Principal, name: str) -> Response:
    """A name with its aliases and its newest version."""
    return JsonReply(model_object(context.registry.model(name, principal)))


@router.get(
    "/models/{name}/versions",
    operation_id="list_model_versions",
    summary="List a model's versions",
    description="The newest first; deleted ones only with `status=deleted`. `after` is a version's number or id.",
    response_model=None,
    responses=replies(VersionList, {"object": "list", "data": [EXAMPLE], "has_more": False}, FOUND),
)
def list_versions(
    context: ServicesDep,
    principal: Principal,
    name: str,
    status: str | None = None,
    after: str | None = None,
    limit: int = 100,
    order: Order = None,
) -> Response:
    page = context.registry.versions(
        name, principal, status=status, after=_number(after), limit=limit, order=order or "desc"
    )
    return JsonReply(VersionList("list", [version_object(item) for item in page.items], page.has_more))


def _number(after: str | None) -> int | None:
    """`3` and `reviews:3` both mean 3."""
    if after is None:
        return None
    return number_of(after.rpartition(":")[2], "after must be a version's number or id", "after")


@router.get(
    "/models/{name}/versions/{version}",
    operation_id="retrieve_model_version",
    summary="Look at a version",
    response_model=None,
    responses=replies(VersionObject, EXAMPLE, FOUND),
)
def retrieve_version(context: ServicesDep, principal: Principal, name: str, version: int) -> Response:
    """One immutable version: task, architecture, digest, files, metrics and aliases."""
    return JsonReply(version_object(context.registry.get(name, version, principal)))


@router.delete(
    "/models/{name}/versions/{version}",
    operation_id="delete_model_version",
    summary="Delete a version",
    description="Refused with `version_in_use` while an alias points at it. Its bytes go after a time of grace.",
    response_model=None,
    responses=replies(RegistryDeleted, {"id": f"{MODEL}:1", "object": "model.version", "deleted": True}, FOUND),
)
def delete_version(context: ServicesDep, principal: Principal, name: str, version: int) -> Response:
    gone = context.registry.delete_version(name, version, principal)
    return JsonReply(RegistryDeleted(gone.ref, "model.version", True))


@router.put(
    "/models/{name}/aliases/{alias}",
    operation_id="set_model_alias",
    summary="Point an alias at a version",
    description="With `expected_version` only if the alias is there now; else 409 `alias_conflict`, not to be retried.",
    response_model=None,
    openapi_extra=reads(AliasRequest, move={"version": 1}, safely={"version": 1, "expected_version": 1}),
    responses=replies(AliasObject, ALIAS_EXAMPLE, (*FOUND, 409)),
)
def set_alias(
    context: ServicesDep,
    principal: Principal,
    name: str,
    alias: str,
    asked: Annotated[AliasRequest, Depends(alias_request)],
) -> Response:
    moved = context.registry.set_alias(
        name,
        alias,
        asked.version,
        principal,
        expected_version=asked.expected_version,
        required=asked.required,
    )
    return JsonReply(alias_object(moved))


@router.delete(
    "/models/{name}/aliases/{alias}",
    operation_id="delete_model_alias",
    summary="Remove an alias",
    description="Its history stays. With `expected_version` only if it points there now.",
    response_model=None,
    responses=replies(
        RegistryDeleted, {"id": f"{MODEL}@champion", "object": "model.alias", "deleted": True}, (*FOUND, 409)
    ),
)
def delete_alias(
    context: ServicesDep, principal: Principal, name: str, alias: str, expected_version: int | None = None
) -> Response:
    expected = UNSET if expected_version is None else expected_version
    context.registry.delete_alias(name, alias, principal, expected_version=expected)
    return JsonReply(RegistryDeleted(f"{name}@{alias}", "model.alias", True))


_MOVE: dict[str, Any] = {
    "id": 7,
    "object": "model.alias_move",
    "model": MODEL,
    "alias": "champion",
    "from_version": None,
    "to_version": 1,
    "principal": "local",
    "created_at": 1745383065,
}


@router.get(
    "/models/{name}/aliases/{alias}/history",
    operation_id="list_alias_history",
    summary="Read where an alias has pointed",
    description="The latest move first, also of an alias that is gone.",
    response_model=None,
    responses=replies(AliasMoveList, {"object": "list", "data": [_MOVE], "has_more": False}, FOUND),
)
def alias_history(
    context: ServicesDep,
    principal: Principal,
    name: str,
    alias: str,
    after: int | None = None,
    limit: int = 100,
    order: Order = None,
) -> Response:
    page = context.registry.alias_history(name, alias, principal, after=after, limit=limit, order=order or "desc")
    return JsonReply(AliasMoveList("list", [move_object(move) for move in page.items], page.has_more))


@router.get(
    "/versions",
    operation_id="search_versions",
    summary="Search the versions of all models",
    description=(
        "By age, or by a figure: `metric=test.macro_f1` finds the versions that have it, the best first; `minimum` "
        "and `maximum` bound it."
    ),
    response_model=None,
    responses=replies(VersionList, {"object": "list", "data": [EXAMPLE], "has_more": False}, COMMON),
)
def search(
    context: ServicesDep,
    principal: Principal,
    wanted: Annotated[Filter, Depends()],
    after: str | None = None,
    limit: int = 100,
) -> Response:
    page = context.registry.search(principal, wanted, after=after, limit=limit)
    return JsonReply(VersionList("list", [version_object(item) for item in page.items], page.has_more))


@router.get(
    "/compare",
    operation_id="compare_versions",
    summary="Set the figures of versions side by side",
    description="`versions` is a comma-separated list of model references.",
    response_model=None,
    responses=replies(
        ComparisonObject,
        {
            "object": "model.comparison",
            "versions": [
                EXAMPLE,
                {**EXAMPLE, "id": f"{OTHER}:1", "model": OTHER, "architecture": "rnn", "aliases": []},
            ],
            "figures": {"test.accuracy": [0.912, 0.897]},
            "best": {"test.accuracy": 0},
        },
        FOUND,
    ),
)
def compare(
    context: ServicesDep,
    principal: Principal,
    versions: str,
) -> Response:
    references = [reference for reference in versions.split(",") if reference]
    if not 1 <= len(references) <= MOST_COMPARED:
        raise InvalidRequest(f"versions must name 1 to {MOST_COMPARED} versions, with commas", param="versions")
    return JsonReply(comparison_object(context.registry.compare(references, principal)))
