"""Rejects requests to create, copy, transfer or delete models through Ollama's routes. The errors name alternatives."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.errors import InvalidRequest

router = APIRouter(prefix="/api", include_in_schema=False)
IMPORT = "register a checkpoint with `ostinato import`, or train a model with POST /v1/fine_tuning/jobs"
INSTEAD = {
    "pull": f"models are not downloaded; {IMPORT}",
    "push": "models are not uploaded to a library; `ostinato export` writes a version to a file",
    "create": f"models are not created from a Modelfile; {IMPORT}",
    "copy": "models are not copied; point an alias at a version with PUT /v1/registry/models/{name}/aliases/{alias}",
    "delete": "send DELETE /v1/registry/models/{name}/versions/{version} to delete a version",
}


@router.delete("/delete")
@router.post("/pull")
@router.post("/push")
@router.post("/create")
@router.post("/copy")
async def refuse(request: Request) -> Response:
    """Reject a request that would create, copy, transfer or delete a model. The error names an alternative."""
    raise InvalidRequest(INSTEAD[request.url.path.rpartition("/")[2]], code="unsupported")
