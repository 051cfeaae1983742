"""Embeddings in OpenAI's shape. Knows encodings and lengths; the use case is `Inference.embed`."""

from __future__ import annotations

import base64
import math
import sys
from array import array
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Request
from msgspec import Meta
from starlette.responses import Response

from app.api.http.auth import principal_of
from app.api.http.bodies import JsonBody, reference_of, seconds_of
from app.api.http.context import context_of
from app.api.http.fields import Truncation, Usage
from app.api.http.presence import attended
from app.api.http.replies import JsonReply, answer_headers
from app.api.openapi.describe import Noted, reads, replies
from app.errors import InvalidRequest
from app.inference.inputs import LengthPolicy
from app.inference.queries import InferenceQuery, ScoredBatch

router = APIRouter(tags=["embeddings"])


class EmbeddingRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`input`: a text, texts, token ids, a list of those, or [[[number]]] (batch, time, feature) for a version that
    reads numbers. `dimensions`: only the first so many numbers, scaled to unit length again. `base64` is little-endian
    float32."""

    input: str | list[str | int | list[int | list[float]]]
    model: str | None = None
    encoding_format: Literal["float", "base64"] | None = "float"
    dimensions: Annotated[int, Meta(ge=1)] | None = None
    truncate_prompt_tokens: Truncation | None = None
    truncation_side: Literal["left", "right"] = "right"
    add_special_tokens: bool = True
    user: str | None = None


class Embedding(msgspec.Struct, frozen=True):
    index: int
    embedding: list[float] | str
    object: str = "embedding"


class EmbeddingReply(msgspec.Struct, frozen=True):
    model: str
    data: list[Embedding]
    usage: Usage
    object: str = "list"


_body = JsonBody(EmbeddingRequest)
_EXAMPLE: dict[str, Any] = {
    "model": "demo-sentiment-lstm",
    "data": [{"index": 0, "embedding": [0.12, -0.98, 0.16], "object": "embedding"}],
    "usage": {"prompt_tokens": 4, "total_tokens": 4, "completion_tokens": 0, "prompt_tokens_details": None},
    "object": "list",
}


@router.post(
    "/v1/embeddings",
    operation_id="create_embedding",
    summary="Texts or numeric sequences as vectors",
    description="The mean over the last hidden vectors of any version, scaled to unit length.",
    response_model=None,
    openapi_extra=reads(
        EmbeddingRequest,
        two_texts={"model": "demo-sentiment-lstm", "input": ["good", "bad"]},
        numbers=Noted(
            {"model": "waves", "input": [[[0.1, 0], [0.4, 0.05], [0.7, 0.1], [0.9, 0.15]]]},
            "A series of steps, for a version trained on numbers, such as that of docs/numeric.md",
        ),
    ),
    responses=replies(EmbeddingReply, _EXAMPLE),
)
async def create_embedding(request: Request) -> Response:
    body = await _body.read(request)
    context = context_of(request)
    query = InferenceQuery(
        reference_of(request, body.model),
        await context.inference.items(body.input, "input"),
        principal_of(request),
        seconds_of(request),
        LengthPolicy(truncate=body.truncate_prompt_tokens, side=body.truncation_side, special=body.add_special_tokens),
    )
    scored = await attended(request, context.inference.embed(query))
    tokens = sum(scored.lengths)
    data = [Embedding(i, _encoded(row, body, scored)) for i, row in enumerate(scored.rows)]
    headers = answer_headers(scored.version.ref, tokens, scored.timing)
    return JsonReply(EmbeddingReply(query.reference, data, Usage(tokens, tokens)), headers)


def _encoded(row: list[float], body: EmbeddingRequest, scored: ScoredBatch) -> list[float] | str:
    if body.dimensions is not None:
        if body.dimensions > len(row):
            raise InvalidRequest(f"{scored.version.ref} has {len(row)} dimensions at most", param="dimensions")
        cut = row[: body.dimensions]
        length = math.sqrt(math.fsum(x * x for x in cut)) or 1.0
        row = [x / length for x in cut]
    if body.encoding_format != "base64":
        return row
    numbers = array("f", row)
    if sys.byteorder == "big":
        numbers.byteswap()
    return base64.b64encode(numbers.tobytes()).decode("ascii")
