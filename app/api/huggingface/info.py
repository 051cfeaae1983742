"""`GET /info`: describes the default model, in TGI's format if it generates text, otherwise in TEI's format."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from app.api.http.caller import Caller
from app.api.http.replies import JsonReply
from app.api.http.services import services_of
from app.api.huggingface.queries import ModelQuery
from app.api.openapi.describe import LOOKUP, replies
from app.inference.versions import ResolvedVersion
from app.settings import Settings

router = APIRouter(tags=["Hugging Face"])


class TextModelInfo(msgspec.Struct, frozen=True):
    """The description of a version that generates text, in TGI's format."""

    model_id: str
    model_sha: str
    model_pipeline_tag: str
    max_concurrent_requests: int
    max_best_of: int
    max_stop_sequences: int
    max_input_tokens: int
    max_total_tokens: int
    validation_workers: int
    max_client_batch_size: int
    router: str
    version: str
    sha: str | None
    docker_label: str | None


class TeiModelInfo(msgspec.Struct, frozen=True):
    """The description of a version that does not generate text, in TEI's format."""

    model_id: str
    model_sha: str
    model_dtype: str
    served_model_name: str
    model_type: dict[str, Any]
    max_concurrent_requests: int
    max_input_length: int
    max_batch_tokens: int
    max_batch_requests: int | None
    max_client_batch_size: int
    auto_truncate: bool
    tokenization_workers: int
    version: str
    sha: str | None
    docker_label: str | None


_TEXT: dict[str, Any] = {
    "model_id": "demo-text-lstm:1",
    "model_sha": "0" * 64,
    "model_pipeline_tag": "text-generation",
    "max_concurrent_requests": 512,
    "max_best_of": 64,
    "max_stop_sequences": 16,
    "max_input_tokens": 255,
    "max_total_tokens": 256,
    "validation_workers": 2,
    "max_client_batch_size": 1,
    "router": "ostinato",
    "version": "0.1.0",
    "sha": None,
    "docker_label": None,
}
_TEI: dict[str, Any] = {
    "model_id": "demo-sentiment-lstm:1",
    "model_sha": "0" * 64,
    "model_dtype": "float32",
    "served_model_name": "demo-sentiment-lstm",
    "model_type": {"classifier": {"id2label": {"0": "negative"}, "label2id": {"negative": 0}}},
    "max_concurrent_requests": 512,
    "max_input_length": 256,
    "max_batch_tokens": 100000,
    "max_batch_requests": None,
    "max_client_batch_size": 2048,
    "auto_truncate": False,
    "tokenization_workers": 2,
    "version": "0.1.0",
    "sha": None,
    "docker_label": None,
}


@router.get(
    "/info",
    operation_id="huggingface_info",
    summary="Describe the default model (TGI and TEI)",
    response_model=None,
    responses=replies(TextModelInfo, _TEXT, LOOKUP, other=(TeiModelInfo, _TEI)),
)
async def huggingface_info(request: Request, model: ModelQuery = None) -> Response:
    """Describes the model given by `?model=`, the header `X-Model` or `OSTINATO_DEFAULT_MODEL`."""
    services, caller = services_of(request), Caller.read(request, None)
    version = await services.inference.versions.get(caller.reference, caller.principal)
    release = request.app.version
    if version.config.task == "generation":
        return JsonReply(_text_info(version, services.settings, release))
    return JsonReply(_scoring_info(version, services.settings, release, caller.reference))


def _text_info(version: ResolvedVersion, settings: Settings, release: str) -> TextModelInfo:
    context = version.config.context_length
    return TextModelInfo(
        version.ref, version.digest, "text-generation", settings.max_waiting, 64, 16, context - 1, context, 2, 1,
        "ostinato", release, None, None,
    )  # fmt: skip


def _scoring_info(version: ResolvedVersion, settings: Settings, release: str, name: str) -> TeiModelInfo:
    labels = version.labels
    numbers = {label: number for number, label in enumerate(labels)}
    names = {str(number): label for number, label in enumerate(labels)}
    kind: dict[str, Any] = {"classifier": {"id2label": names, "label2id": numbers}}
    if version.config.task == "embedding":
        kind = {"embedding": {"pooling": version.config.pooling}}
    context = version.config.context_length
    return TeiModelInfo(
        version.ref, version.digest, "float32", name, kind, settings.max_waiting, context,
        settings.max_waiting_tokens, None, settings.max_texts, False, 2, release, None, None,
    )  # fmt: skip
