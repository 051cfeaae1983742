"""`/v1/registry`: models, versions, aliases, search and comparison. `registry_files` has the routes for files."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from msgspec import UNSET
from starlette.responses import Response

from app.api.http.auth import Principal
from app.api.http.bodies import JsonBody
from app.api.http.replies import JsonReply
from app.api.http.services import ServicesDep
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
    parse_number,
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
    """A dependency: the request body."""
    return await _alias_body.read(request)


@router.get(
    "/models",
    operation_id="list_registry_models",
    summary="List models",
    description=(
        "Returns the models by name, each with its newest version. `search` matches a part of the name; `task` and "
        "`architecture` are compared with the newest version."
    ),
    response_model=None,
    responses=replies(RegistryModelList, {"object": "list", "data": [MODEL_EXAMPLE], "has_more": False}, COMMON),
)
def list_models(
    services: ServicesDep,
    principal: Principal,
    search: str | None = None,
    task: str | None = None,
    architecture: str | None = None,
    after: str | None = None,
    limit: int = 100,
    order: Order = None,
) -> Response:
    page = services.registry.list(
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
    summary="Retrieve a model",
    response_model=None,
    responses=replies(ModelObject, MODEL_EXAMPLE, FOUND),
)
def retrieve_model(services: ServicesDep, principal: Principal, name: str) -> Response:
    """Returns a model with its aliases and its newest version."""
    return JsonReply(model_object(services.registry.model(name, principal)))


@router.get(
    "/models/{name}/versions",
    operation_id="list_model_versions",
    summary="List a model's versions",
    description=(
        "Returns the newest version first. Deleted versions are listed only with `status=deleted`. `after` is a "
        "version's number or id."
    ),
    response_model=None,
    responses=replies(VersionList, {"object": "list", "data": [EXAMPLE], "has_more": False}, FOUND),
)
def list_versions(
    services: ServicesDep,
    principal: Principal,
    name: str,
    status: str | None = None,
    after: str | None = None,
    limit: int = 100,
    order: Order = None,
) -> Response:
    page = services.registry.versions(
        name, principal, status=status, after=_number(after), limit=limit, order=order or "desc"
    )
    return JsonReply(VersionList("list", [version_object(item) for item in page.items], page.has_more))


def _number(after: str | None) -> int | None:
    """The version number in `3` or `reviews:3`."""
    if after is None:
        return None
    return parse_number(after.rpartition(":")[2], "after must be a version's number or id", "after")


@router.get(
    "/models/{name}/versions/{version}",
    operation_id="retrieve_model_version",
    summary="Retrieve a version",
    response_model=None,
    responses=replies(VersionObject, EXAMPLE, FOUND),
)
def retrieve_version(services: ServicesDep, principal: Principal, name: str, version: int) -> Response:
    """Returns an immutable version: its task, architecture, digest, files, metrics and aliases."""
    return JsonReply(version_object(services.registry.get(name, version, principal)))


@router.delete(
    "/models/{name}/versions/{version}",
    operation_id="delete_model_version",
    summary="Delete a version",
    description=(
        "Fails with `version_in_use` while an alias points at the version. Its files are removed after a grace period."
    ),
    response_model=None,
    responses=replies(RegistryDeleted, {"id": f"{MODEL}:1", "object": "model.version", "deleted": True}, FOUND),
)
def delete_version(services: ServicesDep, principal: Principal, name: str, version: int) -> Response:
    deleted = services.registry.delete_version(name, version, principal)
    return JsonReply(RegistryDeleted(deleted.ref, "model.version", True))


@router.put(
    "/models/{name}/aliases/{alias}",
    operation_id="set_model_alias",
    summary="Point an alias at a version",
    description=(
        "With `expected_version`, the alias is moved only if it points at that version now; otherwise the request "
        "fails with 409 `alias_conflict` and should not be retried."
    ),
    response_model=None,
    openapi_extra=reads(AliasRequest, move={"version": 1}, safely={"version": 1, "expected_version": 1}),
    responses=replies(AliasObject, ALIAS_EXAMPLE, (*FOUND, 409)),
)
def set_alias(
    services: ServicesDep,
    principal: Principal,
    name: str,
    alias: str,
    body: Annotated[AliasRequest, Depends(alias_request)],
) -> Response:
    moved = services.registry.set_alias(
        name,
        alias,
        body.version,
        principal,
        expected_version=body.expected_version,
        required=body.required,
    )
    return JsonReply(alias_object(moved))


@router.delete(
    "/models/{name}/aliases/{alias}",
    operation_id="delete_model_alias",
    summary="Delete an alias",
    description=(
        "Keeps the alias's history. With `expected_version`, the alias is deleted only if it points at that version."
    ),
    response_model=None,
    responses=replies(
        RegistryDeleted, {"id": f"{MODEL}@champion", "object": "model.alias", "deleted": True}, (*FOUND, 409)
    ),
)
def delete_alias(
    services: ServicesDep, principal: Principal, name: str, alias: str, expected_version: int | None = None
) -> Response:
    expected = UNSET if expected_version is None else expected_version
    services.registry.delete_alias(name, alias, principal, expected_version=expected)
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
    summary="List the moves of an alias",
    description="Returns the latest move first. The history of a deleted alias can be read too.",
    response_model=None,
    responses=replies(AliasMoveList, {"object": "list", "data": [_MOVE], "has_more": False}, FOUND),
)
def alias_history(
    services: ServicesDep,
    principal: Principal,
    name: str,
    alias: str,
    after: int | None = None,
    limit: int = 100,
    order: Order = None,
) -> Response:
    page = services.registry.alias_history(name, alias, principal, after=after, limit=limit, order=order or "desc")
    return JsonReply(AliasMoveList("list", [move_object(move) for move in page.items], page.has_more))


@router.get(
    "/versions",
    operation_id="search_versions",
    summary="Search the versions of all models",
    description=(
        "Returns the newest version first. With `metric`, such as `metric=test.macro_f1`, returns the versions that "
        "have this metric, the best first; `minimum` and `maximum` bound its value."
    ),
    response_model=None,
    responses=replies(VersionList, {"object": "list", "data": [EXAMPLE], "has_more": False}, COMMON),
)
def search(
    services: ServicesDep,
    principal: Principal,
    filter_: Annotated[Filter, Depends()],
    after: str | None = None,
    limit: int = 100,
) -> Response:
    page = services.registry.search(principal, filter_, after=after, limit=limit)
    return JsonReply(VersionList("list", [version_object(item) for item in page.items], page.has_more))


@router.get(
    "/compare",
    operation_id="compare_versions",
    summary="Compare the metrics of versions",
    description=(
        "Returns the metrics of versions side by side. `versions` is a comma-separated list of model references."
    ),
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
    services: ServicesDep,
    principal: Principal,
    versions: str,
) -> Response:
    references = [reference for reference in versions.split(",") if reference]
    if not 1 <= len(references) <= MOST_COMPARED:
        raise InvalidRequest(
            f"versions must be 1 to {MOST_COMPARED} model references, separated by commas", param="versions"
        )
    return JsonReply(comparison_object(services.registry.compare(references, principal)))
