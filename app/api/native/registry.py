"""`/v1/registry`: models and versions, search and comparison."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import Response

from app.api.http.auth import Principal
from app.api.http.replies import JsonReply
from app.api.http.services import ServicesDep
from app.api.native.registry_objects import (
    EXAMPLE,
    MODEL_EXAMPLE,
    ComparisonObject,
    ModelObject,
    RegistryDeleted,
    RegistryModelList,
    VersionList,
    VersionObject,
    comparison_object,
    model_object,
    parse_number,
    summary_object,
    version_object,
)
from app.api.openapi.describe import COMMON, LOOKUP, replies
from app.api.openapi.parameters import MOST_COMPARED, OTHER, OWN_MODEL, Order
from app.errors import InvalidRequest
from app.registry.search import Filter

router = APIRouter(prefix="/v1/registry", tags=["registry"])


@router.get(
    "/models",
    operation_id="list_registry_models",
    summary="List models",
    description=(
        "Returns the models in the order of their names, each with its newest version. `search` matches part of a "
        "model's name. `task` and `architecture` are compared with those of the model's newest version."
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
    responses=replies(ModelObject, MODEL_EXAMPLE, LOOKUP),
)
def retrieve_model(services: ServicesDep, principal: Principal, name: str) -> Response:
    """Returns a model with its aliases and newest version."""
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
    responses=replies(VersionList, {"object": "list", "data": [EXAMPLE], "has_more": False}, LOOKUP),
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
    return JsonReply(VersionList("list", [summary_object(item) for item in page.items], page.has_more))


def _number(after: str | None) -> int | None:
    """Parse the version number in `after`, which is a number such as `3` or an id such as `reviews:3`."""
    if after is None:
        return None
    return parse_number(after.rpartition(":")[2], "after must be a version's number or id", "after")


@router.get(
    "/models/{name}/versions/{version}",
    operation_id="retrieve_model_version",
    summary="Retrieve a version",
    response_model=None,
    responses=replies(VersionObject, EXAMPLE, LOOKUP),
)
def retrieve_version(services: ServicesDep, principal: Principal, name: str, version: int) -> Response:
    """Returns an immutable version: its task, architecture, digest, files, metrics and aliases."""
    return JsonReply(version_object(services.registry.get(name, version, principal)))


@router.delete(
    "/models/{name}/versions/{version}",
    operation_id="delete_model_version",
    summary="Delete a version",
    description=(
        "Fails with `version_in_use` while an alias points to the version. The version's files are removed after a "
        "grace period."
    ),
    response_model=None,
    responses=replies(RegistryDeleted, {"id": f"{OWN_MODEL}:1", "object": "model.version", "deleted": True}, LOOKUP),
)
def delete_version(services: ServicesDep, principal: Principal, name: str, version: int) -> Response:
    deleted = services.registry.delete_version(name, version, principal)
    return JsonReply(RegistryDeleted(deleted.ref, "model.version", True))


@router.get(
    "/versions",
    operation_id="search_versions",
    summary="Search the versions of all models",
    description=(
        "Returns the newest version first. With `metric`, such as `metric=test.macro_f1`, only versions that have this "
        "metric are returned, and the best version is first. `minimum` and `maximum` limit the value of the metric."
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
    return JsonReply(VersionList("list", [summary_object(item) for item in page.items], page.has_more))


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
            "different_rows": [],
        },
        LOOKUP,
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
