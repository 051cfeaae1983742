"""`/v1/registry/models/{name}/aliases`: a model's aliases, and the history of their moves."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from msgspec import UNSET, UnsetType
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from app.api.http.aliases import load_if_required
from app.api.http.auth import Principal, is_operator
from app.api.http.bodies import JsonBody
from app.api.http.replies import JsonReply
from app.api.http.scopes import MissingScope
from app.api.http.services import ServicesDep
from app.api.native.registry_objects import (
    ALIAS_EXAMPLE,
    AliasMoveList,
    AliasObject,
    AliasRequest,
    RegistryDeleted,
    alias_object,
    move_object,
)
from app.api.openapi.describe import LOOKUP, reads, replies
from app.api.openapi.parameters import MODEL, OWN_MODEL, Order
from app.registry.records import Abstention

router = APIRouter(prefix="/v1/registry/models/{name}/aliases", tags=["registry"])

_body = JsonBody(AliasRequest)


async def alias_request(request: Request) -> AliasRequest:
    """A dependency that reads the request body."""
    return await _body.read(request)


@router.put(
    "/{alias}",
    operation_id="set_model_alias",
    summary="Point an alias at a version",
    description=(
        "With `expected_version`, the alias is moved only if it currently points to that version; otherwise the "
        "request fails with 409 `alias_conflict` and should not be retried. The version of a required alias is loaded "
        "first; if that fails, the alias does not change. With `abstention`, typed decisions that are requested with "
        "this alias are left unanswered if the version is not certain enough."
    ),
    response_model=None,
    openapi_extra=reads(
        AliasRequest,
        move={"version": 1},
        safely={"version": 1, "expected_version": 1},
        abstain={"version": 1, "abstention": {"abstain_below": 0.8}},
    ),
    responses=replies(AliasObject, ALIAS_EXAMPLE, (*LOOKUP, 409, 504)),
)
async def set_alias(
    services: ServicesDep,
    principal: Principal,
    request: Request,
    name: str,
    alias: str,
    body: Annotated[AliasRequest, Depends(alias_request)],
) -> Response:
    if body.required and not is_operator(request):
        raise MissingScope("only a key with the operator scope may mark an alias as required", param="required")
    loads = await load_if_required(services, principal, name, alias, body.version, body.required)
    moved = await run_in_threadpool(
        services.registry.set_alias,
        name,
        alias,
        body.version,
        principal,
        expected_version=body.expected_version,
        required=body.required,
        loads=loads,
        abstention=_abstention(body),
    )
    return JsonReply(alias_object(moved))


def _abstention(body: AliasRequest) -> Abstention | UnsetType:
    """The abstention to set: UNSET keeps the current one, and an empty one removes it."""
    if body.abstention is UNSET:
        return UNSET
    return (
        Abstention() if body.abstention is None else Abstention(body.abstention.abstain_below, body.abstention.max_risk)
    )


@router.delete(
    "/{alias}",
    operation_id="delete_model_alias",
    summary="Delete an alias",
    description=(
        "The history of the alias is kept. With `expected_version`, the alias is deleted only if it points to that "
        "version."
    ),
    response_model=None,
    responses=replies(
        RegistryDeleted, {"id": f"{OWN_MODEL}@champion", "object": "model.alias", "deleted": True}, (*LOOKUP, 409)
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
    "abstention": None,
    "principal": "local",
    "created_at": 1745383065,
}


@router.get(
    "/{alias}/history",
    operation_id="list_alias_history",
    summary="List the changes of an alias",
    description="Returns the latest change first. The history is available even after the alias has been deleted.",
    response_model=None,
    responses=replies(AliasMoveList, {"object": "list", "data": [_MOVE], "has_more": False}, LOOKUP),
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
