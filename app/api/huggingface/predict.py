"""TEI's `/predict`."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Request
from msgspec import Meta
from starlette.responses import Response

from app.api.http.bodies import JsonBody
from app.api.http.caller import Caller
from app.api.http.replies import JsonReply, answer_headers
from app.api.http.services import services_of
from app.api.huggingface.queries import ModelQuery
from app.api.huggingface.scores import classified, label_scores
from app.api.huggingface.similarities import length_policy
from app.api.openapi.describe import INFERENCE, Noted, reads, replies
from app.errors import InvalidRequest
from app.inference.items import Item
from app.inference.scoring import LabelScore

router = APIRouter(tags=["Hugging Face"])
Direction = Annotated[str, Meta(pattern="^([Ll]eft|[Rr]ight)$")]
NEEDS = "Requires a default model that classifies, or the name of such a model as ?model="
SHAPES = 'inputs must be a text, a pair ["a", "b"], or a list of lists with one or two texts'


class PredictRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A classification request. `inputs` is a text, a pair of texts, or a list of lists with one or two texts each.

    The model is given by `?model=`, the header `X-Model`, or `OSTINATO_DEFAULT_MODEL`. If `raw_scores` is true, the
    scores are logits. If `truncate` is true, texts that are too long are truncated on the side given by
    `truncation_direction`.
    """

    inputs: str | list[str | list[str]]
    raw_scores: bool | None = False
    truncate: bool | None = False
    truncation_direction: Direction | None = "right"


_body = JsonBody(PredictRequest)
_SCORES = [{"label": "positive", "score": 0.91}, {"label": "negative", "score": 0.09}]


@router.post(
    "/predict",
    operation_id="tei_predict",
    summary="Classify texts (TEI)",
    description="Returns the labels with their scores: a list for one input, and a list of lists for several.",
    response_model=None,
    openapi_extra=reads(
        PredictRequest,
        text=Noted({"inputs": "I love this!"}, NEEDS),
        several_texts=Noted({"inputs": [["I love this!"], ["Not my thing."]]}, NEEDS),
    ),
    responses=replies(LabelScore, _SCORES, (*INFERENCE, 424), nested=True),
)
async def tei_predict(request: Request, model: ModelQuery = None) -> Response:
    body = await _body.read(request)
    value, several = shaped(body.inputs)
    items: list[Item] = await services_of(request).inference.items(value, "inputs")
    policy = length_policy(body.truncate, body.truncation_direction)
    scored = await classified(request, Caller.read(request, None), items, policy)
    scores = await label_scores(scored, function="none" if body.raw_scores else None)
    headers = answer_headers(scored.version.ref, sum(scored.lengths), scored.timing)
    return JsonReply(scores if several else scores[0], headers)


def shaped(inputs: str | list[Any]) -> tuple[list[Any], bool]:
    """Return the texts and pairs in `inputs`, and whether each was in its own list. Raises InvalidRequest."""
    if isinstance(inputs, str):
        return [inputs], False
    if inputs and all(isinstance(entry, str) for entry in inputs):
        return [_one(inputs)], False
    if inputs and all(isinstance(entry, list) for entry in inputs):
        return [_one(entry) for entry in inputs], True
    raise InvalidRequest(SHAPES, param="inputs")


def _one(texts: list[str]) -> str | list[str]:
    """Return one text, or a pair of texts. Raises InvalidRequest for any other number of texts."""
    if len(texts) not in (1, 2):
        raise InvalidRequest(SHAPES, param="inputs")
    return texts if len(texts) == 2 else texts[0]
