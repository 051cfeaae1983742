"""The protocol's health routes and server metadata."""

from __future__ import annotations

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from app.api.http.auth import Principal
from app.api.http.replies import JsonReply
from app.api.http.services import ServicesDep
from app.api.openapi.describe import COMMON, replies

router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])
EXTENSIONS = [
    "binary_tensor_data", "classification", "generate", "model_configuration", "model_repository",
    "model_repository(unload_dependents)", "parameters", "statistics",
]  # fmt: skip


class ServerMetadata(msgspec.Struct, frozen=True):
    """The service's name and release, and the protocol extensions that it supports."""

    name: str
    version: str
    extensions: list[str]


class ServerLiveness(msgspec.Struct, frozen=True):
    """Whether the process is running."""

    live: bool


class ServerReadiness(msgspec.Struct, frozen=True):
    """Whether requests can be answered. `live` is always true, because a process that replies is running."""

    ready: bool
    live: bool


@router.get(
    "",
    operation_id="server_metadata",
    summary="Describe the server (Open Inference Protocol)",
    response_model=None,
    responses=replies(ServerMetadata, {"name": "ostinato", "version": "0.1.0", "extensions": EXTENSIONS}, COMMON),
)
async def server_metadata(request: Request) -> Response:
    """Returns the service's release and the supported extensions."""
    return JsonReply(ServerMetadata("ostinato", request.app.version, EXTENSIONS))


@router.get(
    "/health/live",
    operation_id="server_live",
    summary="Check that the process runs (Open Inference Protocol)",
    response_model=None,
    responses=replies(ServerLiveness, {"live": True}, ()),
)
async def server_live(request: Request) -> Response:
    """Returns 200 as long as the API process is running."""
    return JsonReply(ServerLiveness(True))


@router.get(
    "/health/ready",
    operation_id="server_ready",
    summary="Check that requests can be answered (Open Inference Protocol)",
    response_model=None,
    responses={
        **replies(ServerReadiness, {"ready": True, "live": True}, ()),
        503: {
            "description": "Not ready",
            "content": {
                "application/json": {
                    "schema": {"$ref": "#/components/schemas/ServerReadiness"},
                    "example": {"ready": False, "live": True},
                }
            },
        },
    },
)
async def server_ready(services: ServicesDep, principal: Principal) -> Response:
    """Returns 200 if `/readyz` returns 200, and 503 otherwise."""
    ready = services.readiness.report(principal).ready
    return JsonReply(ServerReadiness(ready, True), {"cache-control": "no-store"}, 200 if ready else 503)
