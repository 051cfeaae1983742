"""Model metadata, readiness and configuration."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from app.api.http.auth import principal_of
from app.api.http.replies import JsonReply
from app.api.http.services import services_of
from app.api.openapi.describe import LOOKUP, replies
from app.api.openinference import signature
from app.api.openinference.references import reference_of, unversioned
from app.api.openinference.signature import TensorMetadata
from app.inference.versions import ResolvedVersion

router = APIRouter(prefix="/v2/models/{name}", tags=["Open Inference Protocol"])


class ModelMetadata(msgspec.Struct, frozen=True):
    """A model, with the version that the reply describes and the tensors of this version."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ModelReadiness(msgspec.Struct, frozen=True):
    """Whether the model can answer requests."""

    name: str
    ready: bool


class TensorConfiguration(msgspec.Struct, frozen=True):
    """A tensor in a configuration; -1 stands for any length. The batch axis, which is the first, is left out."""

    name: str
    data_type: str
    dims: list[int]
    optional: bool = False


class ModelConfiguration(msgspec.Struct, frozen=True):
    """A model's configuration, in Triton's format."""

    name: str
    platform: str
    backend: str
    max_batch_size: int
    input: list[TensorConfiguration]
    output: list[TensorConfiguration]


_TEXT = {"name": "text", "datatype": "BYTES", "shape": [-1]}
_METADATA: dict[str, Any] = {
    "name": "demo-sentiment-lstm",
    "versions": ["1"],
    "platform": "ostinato_lstm",
    "inputs": [_TEXT, {"name": "text_pair", "datatype": "BYTES", "shape": [-1]}],
    "outputs": [
        {"name": "label", "datatype": "BYTES", "shape": [-1]},
        {"name": "probs", "datatype": "FP32", "shape": [-1, 2]},
    ],
}
_CONFIGURATION: dict[str, Any] = {
    "name": "demo-sentiment-lstm",
    "platform": "ostinato_lstm",
    "backend": "ostinato",
    "max_batch_size": 2048,
    "input": [{"name": "text", "data_type": "TYPE_STRING", "dims": [1], "optional": False}],
    "output": [{"name": "probs", "data_type": "TYPE_FP32", "dims": [2], "optional": False}],
}
_DESCRIBED: dict[str, Any] = {"response_model": None, "responses": replies(ModelMetadata, _METADATA, LOOKUP)}
_READY: dict[str, Any] = {
    "response_model": None,
    "responses": replies(ModelReadiness, {"name": "demo-sentiment-lstm", "ready": True}, LOOKUP),
}
_CONFIGURED: dict[str, Any] = {
    "response_model": None,
    "responses": replies(ModelConfiguration, _CONFIGURATION, LOOKUP),
}


async def _version(request: Request, name: str, number: str) -> ResolvedVersion:
    versions = services_of(request).inference.versions
    return await versions.get(reference_of(name, number), principal_of(request))


@router.get(
    "/versions/{version}",
    operation_id="version_metadata",
    summary="Describe one version (Open Inference Protocol)",
    **_DESCRIBED,
)
async def model_metadata(request: Request, name: str, version: str) -> Response:
    """Returns the names, types and shapes of the inputs and outputs."""
    resolved = await _version(request, name, version)
    config = resolved.config
    reply = ModelMetadata(
        resolved.record.model,
        [str(resolved.record.version)],
        f"ostinato_{config.architecture}",
        signature.inputs_of(config),
        signature.outputs_of(config, len(resolved.labels)),
    )
    return JsonReply(reply)


router.get("", operation_id="model_metadata", summary="Describe a model (Open Inference Protocol)", **_DESCRIBED)(
    unversioned(model_metadata)
)


@router.get(
    "/versions/{version}/ready",
    operation_id="version_ready",
    summary="Check one version (Open Inference Protocol)",
    **_READY,
)
async def model_ready(request: Request, name: str, version: str) -> Response:
    """Reports every version as ready, even if no engine has loaded it, because its first request loads it."""
    resolved = await _version(request, name, version)
    return JsonReply(ModelReadiness(resolved.record.model, True))


router.get("/ready", operation_id="model_ready", summary="Check a model (Open Inference Protocol)", **_READY)(
    unversioned(model_ready)
)


@router.get(
    "/versions/{version}/config",
    operation_id="version_config",
    summary="Read one version's configuration (Triton)",
    **_CONFIGURED,
)
async def model_config(request: Request, name: str, version: str) -> Response:
    """Returns the tensors and the maximum batch size, in Triton's configuration format."""
    resolved = await _version(request, name, version)
    config = resolved.config
    reply = ModelConfiguration(
        resolved.record.model,
        f"ostinato_{config.architecture}",
        "ostinato",
        services_of(request).settings.max_texts,
        [_configured(tensor) for tensor in signature.inputs_of(config)],
        [_configured(tensor) for tensor in signature.outputs_of(config, len(resolved.labels))],
    )
    return JsonReply(reply)


router.get("/config", operation_id="model_config", summary="Read a model's configuration (Triton)", **_CONFIGURED)(
    unversioned(model_config)
)


def _configured(tensor: TensorMetadata) -> TensorConfiguration:
    dims = tensor.shape[1:] or [1]
    return TensorConfiguration(tensor.name, signature.TYPES[tensor.datatype], dims, tensor.name == signature.PAIR)
