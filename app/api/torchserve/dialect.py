"""TorchServe's dialect: predictions, the list of models, and the choice of the default version."""

from __future__ import annotations

from typing import Any

import msgspec

from app.api.http.dialects import Dialect
from app.api.torchserve import models, predictions
from app.errors import OstinatoError

TYPES = {  # error code or status -> the name of TorchServe's exception
    "model_not_found": "ModelNotFoundException",
    "version_not_found": "ModelVersionNotFoundException",
    401: "InvalidKeyException",
    403: "InvalidKeyException",
    404: "ResourceNotFoundException",
    405: "MethodNotAllowedException",
    409: "ConflictStatusException",
    429: "ServiceUnavailableException",
    503: "ServiceUnavailableException",
    504: "RequestTimeoutException",
}


class TorchServeError(msgspec.Struct, frozen=True):
    """An error in TorchServe's format. `code` is the HTTP status, and `type` is a machine-readable code."""

    code: int
    type: str
    message: str


def render_error(error: OstinatoError) -> tuple[int, dict[str, Any]]:
    """Render an error as `{"code", "type", "message"}`, like TorchServe."""
    otherwise = "InternalServerException" if error.status >= 500 else "BadRequestException"
    kind = TYPES.get(error.code) or TYPES.get(error.status, otherwise)
    return error.status, {"code": error.status, "type": kind, "message": error.message}


DIALECT = Dialect(
    inference=(predictions.router,),
    management=(models.router,),
    prefixes=("/predictions", "/explanations", "/models", "/api-description"),
    render_error=render_error,
    error_reply=TorchServeError,
    missing={
        "/api-description": "GET /openapi.json describes all routes",
        "/explanations": "explanations are not supported; POST /predictions/{name} returns the probability of each "
        "label",
        "POST /models": "models are not registered by URL; upload an archive to POST "
        "/v1/registry/models/{name}/versions",
        "PUT /models": "workers cannot be scaled; an engine loads a version when it is first requested",
        "DELETE /models": "send DELETE /v1/registry/models/{name}/versions/{version} to delete a version",
    },
)
