"""`/v1/registry/models/{name}/versions/{version}/evaluations`: a version's evaluations, with their reports."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from app.api.http.auth import Principal
from app.api.http.replies import JsonReply
from app.api.http.services import ServicesDep
from app.api.native.evaluation_objects import EXAMPLE, EvaluationList, evaluation_object
from app.api.openapi.describe import LOOKUP, replies

router = APIRouter(prefix="/v1/registry/models", tags=["registry"])


@router.get(
    "/{name}/versions/{version}/evaluations",
    operation_id="list_version_evaluations",
    summary="List the evaluations of a version",
    description="Returns up to 20 evaluations of the version that have succeeded, newest first, with their reports.",
    response_model=None,
    responses=replies(EvaluationList, {"object": "list", "data": [EXAMPLE], "has_more": False}, LOOKUP),
)
def list_evaluations(services: ServicesDep, principal: Principal, name: str, version: int) -> Response:
    digest = services.registry.get(name, version, principal).digest
    evaluations = services.evaluations.of_version(digest, principal)
    return JsonReply(EvaluationList("list", [evaluation_object(job) for job in evaluations], False))
