"""TEI's `/embed` and `/similarity`."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter, Request
from msgspec import Meta
from starlette.responses import Response

from app.api.http.bodies import JsonBody
from app.api.http.caller import Caller
from app.api.http.neutral_types import NoText
from app.api.http.replies import JsonReply, answer_headers
from app.api.http.vectors import encoded, shortened
from app.api.huggingface.predict import Direction
from app.api.huggingface.queries import ModelQuery
from app.api.huggingface.similarities import (
    SimilarityInput,
    check_normalized,
    embedded,
    length_policy,
    similarities,
)
from app.api.openapi.describe import NUMBER, Noted, failures, list_schema, reads, replies_json

router = APIRouter(tags=["Hugging Face"])
NEEDS = "Requires a default model that is not linear, or the name of such a model as ?model="


class TeiEmbedRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A request to embed texts. The model is given by `?model=`, the header `X-Model`, or `OSTINATO_DEFAULT_MODEL`.

    All vectors have unit length. With `dimensions`, only this number of components of each vector is returned,
    rescaled to unit length.
    """

    inputs: str | list[str]
    normalize: Annotated[bool, Meta(extra_json_schema={"enum": [True]})] | None = True
    truncate: bool | None = False
    truncation_direction: Direction | None = "right"
    prompt_name: NoText | None = None
    dimensions: Annotated[int, Meta(ge=1)] | None = None

    def __post_init__(self) -> None:
        check_normalized(self.normalize)


class SimilarityParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether, and on which side, to truncate texts that are too long."""

    truncate: bool | None = False
    truncation_direction: Direction | None = "right"
    prompt_name: NoText | None = None


class SimilarityRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A request to compare a text with other texts."""

    inputs: SimilarityInput
    parameters: SimilarityParameters | None = None


_body, _pairs_body = JsonBody(TeiEmbedRequest), JsonBody(SimilarityRequest)
_COMPARED = {"inputs": {"source_sentence": "good", "sentences": ["fine", "bad"]}}


@router.post(
    "/embed",
    operation_id="tei_embed",
    summary="Embed texts (TEI)",
    description="Returns a list with a vector of unit length for each text.",
    response_model=None,
    openapi_extra=reads(TeiEmbedRequest, texts=Noted({"inputs": ["good", "bad"]}, NEEDS)),
    responses=replies_json(list_schema(list_schema(NUMBER)), [[0.12, -0.98, 0.16]]) | failures(424),
)
async def tei_embed(request: Request, model: ModelQuery = None) -> Response:
    body = await _body.read(request)
    policy = length_policy(body.truncate, body.truncation_direction)
    scored = await embedded(request, Caller.read(request, None), body.inputs, policy, body.dimensions or 0)
    rows = scored.rows if body.dimensions is None else [shortened(row, body.dimensions) for row in scored.rows]
    headers = answer_headers(scored.version.ref, sum(scored.lengths), scored.timing)
    return JsonReply(await encoded(rows), headers)


@router.post(
    "/similarity",
    operation_id="tei_similarity",
    summary="Compare a text with others (TEI)",
    description="Returns the cosine similarity of the source sentence to each of the other sentences.",
    response_model=None,
    openapi_extra=reads(SimilarityRequest, texts=Noted(_COMPARED, NEEDS)),
    responses=replies_json(list_schema(NUMBER), [0.93, -0.2]) | failures(424),
)
async def tei_similarity(request: Request, model: ModelQuery = None) -> Response:
    body = await _pairs_body.read(request)
    parameters = body.parameters or SimilarityParameters()
    policy = length_policy(parameters.truncate, parameters.truncation_direction)
    scores, scored = await similarities(request, Caller.read(request, None), body.inputs, policy)
    return JsonReply(scores, answer_headers(scored.version.ref, sum(scored.lengths), scored.timing))
