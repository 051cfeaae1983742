"""`POST /api/embed` and its older form `POST /api/embeddings`: a vector for each text."""

from __future__ import annotations

import time
from typing import Annotated

import msgspec
from fastapi import APIRouter, Request
from msgspec import Meta
from starlette.responses import Response

from app.api.http.bodies import JsonBody
from app.api.http.presence import attended
from app.api.http.replies import JsonReply, answer_headers
from app.api.http.services import services_of
from app.api.http.vectors import encoded, shortened
from app.api.ollama.options import OllamaOptions
from app.api.ollama.references import CURL, caller_of
from app.api.ollama.schemas import KeepAlive
from app.api.openapi.describe import reads, replies
from app.inference.lengths import LengthPolicy
from app.inference.queries import InferenceQuery, ScoredBatch

router = APIRouter(tags=["Ollama"])
MODEL = "demo-sentiment-lstm"


class EmbedRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A request to embed `input`, a text or a list of texts.

    Texts that are too long are truncated, unless `truncate` is false. With `dimensions`, only this number of components
    of each vector is returned, rescaled to unit length. `options` and `keep_alive` have no effect.
    """

    model: str
    input: str | list[str]
    truncate: bool | None = True
    dimensions: Annotated[int, Meta(ge=1)] | None = None
    options: OllamaOptions | None = None
    keep_alive: KeepAlive | None = None


class EmbedReply(msgspec.Struct, frozen=True):
    """The vectors, in the order of the texts. Durations are in nanoseconds."""

    model: str
    embeddings: list[list[float]]
    total_duration: int
    load_duration: int
    prompt_eval_count: int


class PromptEmbeddingRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A request to embed one text, which is truncated if it is too long."""

    model: str
    prompt: str
    options: OllamaOptions | None = None
    keep_alive: KeepAlive | None = None


class PromptEmbeddingReply(msgspec.Struct, frozen=True):
    """The embedding of one text."""

    embedding: list[float]


_body, _old_body = JsonBody(EmbedRequest, media=CURL), JsonBody(PromptEmbeddingRequest, media=CURL)
_EXAMPLE = {
    "model": MODEL,
    "embeddings": [[0.12, -0.98, 0.16]],
    "total_duration": 2100000,
    "load_duration": 0,
    "prompt_eval_count": 4,
}


@router.post(
    "/api/embed",
    operation_id="ollama_embed",
    summary="Embed texts (Ollama)",
    description="Returns a unit vector for each text. Linear versions are not supported.",
    response_model=None,
    openapi_extra=reads(EmbedRequest, texts={"model": MODEL, "input": ["good", "bad"]}),
    responses=replies(EmbedReply, _EXAMPLE),
)
async def ollama_embed(request: Request) -> Response:
    began = time.perf_counter_ns()
    body = await _body.read(request)
    scored = await _embed(request, body.model, body.input, "input", body.truncate is not False, body.dimensions or 0)
    rows = scored.rows if body.dimensions is None else [shortened(row, body.dimensions) for row in scored.rows]
    tokens = sum(scored.lengths)
    reply = EmbedReply(body.model, await encoded(rows), time.perf_counter_ns() - began, 0, tokens)
    return JsonReply(reply, answer_headers(scored.version.ref, tokens, scored.timing))


@router.post(
    "/api/embeddings",
    operation_id="ollama_embeddings",
    summary="Embed one text (Ollama's older route)",
    description="Returns the vector of one text. `/api/embed` accepts several texts.",
    response_model=None,
    openapi_extra=reads(PromptEmbeddingRequest, text={"model": MODEL, "prompt": "good"}),
    responses=replies(PromptEmbeddingReply, {"embedding": [0.12, -0.98, 0.16]}),
)
async def ollama_embeddings(request: Request) -> Response:
    body = await _old_body.read(request)
    scored = await _embed(request, body.model, body.prompt, "prompt", True, 0)
    headers = answer_headers(scored.version.ref, sum(scored.lengths), scored.timing)
    return JsonReply(PromptEmbeddingReply(scored.rows[0]), headers)


async def _embed(
    request: Request, model: str, value: str | list[str], field: str, truncate: bool, dimensions: int
) -> ScoredBatch:
    caller, inference = caller_of(request, model), services_of(request).inference
    policy = LengthPolicy(truncate=-1 if truncate else None, remedy="truncate: true")
    items = await inference.items(value, field)
    query = InferenceQuery(caller.reference, items, caller.principal, caller.seconds, policy, field)
    return await attended(request, inference.embed(query, dimensions))
