"""`POST /v1/embeddings`: embeddings, in OpenAI's format."""

from __future__ import annotations

import asyncio
import base64
import sys
from array import array
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Request
from msgspec import Meta
from starlette.responses import Response

from app.api.http.bodies import JsonBody
from app.api.http.caller import Caller
from app.api.http.fields import Truncation, Usage
from app.api.http.neutral_fields import EMBEDDINGS
from app.api.http.presence import attended
from app.api.http.replies import JsonReply, answer_headers, encode_each
from app.api.http.services import services_of
from app.api.http.token_ids import check_token_ids
from app.api.http.vectors import INLINE, shortened
from app.api.openapi.describe import Noted, reads, replies
from app.inference.lengths import LengthPolicy
from app.inference.queries import InferenceQuery, ScoredBatch

router = APIRouter(tags=["embeddings"])


class EmbeddingRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A request to embed one or more inputs.

    `input` is a string, token ids, or a list of either. Token ids are accepted if `token_ids_of` (or the header
    `x-token-ids-of`) names the version whose tokenizer produced them, by model reference or digest. For a version that
    reads numbers, `input` is an array of numbers with the axes batch, time and feature. `dimensions` is the length to
    which each vector is shortened; the result is rescaled to unit length. If `encoding_format` is `base64`, each vector
    is sent as little-endian float32 in base64. `truncate_prompt_tokens` is the number of tokens to which each input is
    truncated; -1 truncates it to the version's context length."""

    input: str | list[str | int | list[int | list[float]]]
    model: str | None = None
    encoding_format: Literal["float", "base64"] | None = "float"
    dimensions: Annotated[int, Meta(ge=1)] | None = None
    truncate_prompt_tokens: Truncation | None = None
    truncation_side: Literal["left", "right"] = "right"
    add_special_tokens: bool = True
    token_ids_of: str | None = None
    user: str | None = None


class Embedding(msgspec.Struct, frozen=True):
    """One input's vector, as a list of numbers or in base64."""

    index: int
    embedding: list[float] | str
    object: str = "embedding"


class EmbeddingReply(msgspec.Struct, frozen=True):
    """The vectors, in the order of the inputs."""

    model: str
    data: list[Embedding]
    usage: Usage
    object: str = "list"


_body = JsonBody(EmbeddingRequest, EMBEDDINGS)
_EXAMPLE: dict[str, Any] = {
    "model": "demo-sentiment-lstm",
    "data": [{"index": 0, "embedding": [0.12, -0.98, 0.16], "object": "embedding"}],
    "usage": {"prompt_tokens": 4, "total_tokens": 4, "completion_tokens": 0, "prompt_tokens_details": None},
    "object": "list",
}


@router.post(
    "/v1/embeddings",
    operation_id="create_embedding",
    summary="Embed texts or numeric sequences",
    description="Returns a vector for each input, from any version. The vector is the mean of the hidden states of the "
    "last layer, scaled to unit length.",
    response_model=None,
    openapi_extra=reads(
        EmbeddingRequest,
        two_texts={"model": "demo-sentiment-lstm", "input": ["good", "bad"]},
        numbers=Noted(
            {"model": "waves", "input": [[[0.1, 0], [0.4, 0.05], [0.7, 0.1], [0.9, 0.15]]]},
            "A numeric sequence, for a version trained on numbers, such as the one in docs/numeric.md",
        ),
    ),
    responses=replies(EmbeddingReply, _EXAMPLE),
)
async def create_embedding(request: Request) -> Response:
    body = await _body.read(request)
    caller, inference = Caller.read(request, body.model), services_of(request).inference
    items = await inference.items(body.input, "input")
    await check_token_ids(request, caller, items, body.token_ids_of, needs_name=True)
    query = InferenceQuery(
        caller.reference,
        items,
        caller.principal,
        caller.seconds,
        LengthPolicy(truncate=body.truncate_prompt_tokens, side=body.truncation_side, special=body.add_special_tokens),
    )
    scored = await attended(request, inference.embed(query, body.dimensions or 0))
    if len(scored.rows) * len(scored.rows[0]) <= INLINE:
        return _reply(query.reference, scored, [_embedding(i, row, body) for i, row in enumerate(scored.rows)])
    return await asyncio.to_thread(_long_reply, body, query.reference, scored)


def _long_reply(body: EmbeddingRequest, reference: str, scored: ScoredBatch) -> Response:
    data = encode_each(_embedding(i, row, body) for i, row in enumerate(scored.rows))
    return _reply(reference, scored, data)


def _reply(reference: str, scored: ScoredBatch, data: list[Any]) -> Response:
    """Return the reply. `data` contains one Embedding per input, either as a struct or encoded as JSON."""
    tokens = sum(scored.lengths)
    headers = answer_headers(scored.version.ref, tokens, scored.timing)
    return JsonReply(EmbeddingReply(reference, data, Usage(tokens, tokens)), headers)


def _embedding(index: int, row: list[float], body: EmbeddingRequest) -> Embedding:
    if body.dimensions is not None:
        row = shortened(row, body.dimensions)
    return Embedding(index, _base64(row) if body.encoding_format == "base64" else row)


def _base64(row: list[float]) -> str:
    """Encode a vector as little-endian float32 in base64, the format that OpenAI's clients decode."""
    numbers = array("f", row)
    if sys.byteorder == "big":
        numbers.byteswap()
    return base64.b64encode(numbers.tobytes()).decode("ascii")
