"""Classification in vLLM's shape, with ranked scores added. Knows fields; the use case is `Inference.classify`."""

from __future__ import annotations

import asyncio
import time
import uuid
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
from app.inference.inputs import LengthPolicy, Pair
from app.inference.queries import InferenceQuery, ScoredBatch
from app.inference.scoring import LabelScore, activate, at_least, ranked

router = APIRouter(tags=["classification"])

Sequences = str | Pair | list[str | Pair | int | list[int | str | list[float]]]
INLINE = 2000  # scores that are turned into a reply on the event loop; more of them go to a thread


class ClassifyRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`input`: a text, texts, {text, text_pair} objects, token ids, lists of those, or [[[number]]] (batch, time,
    feature) for a version that reads numbers. `truncate_prompt_tokens`: -1 cuts over-long input to what the version
    takes. `use_activation` false gives raw scores in `probs` and `scores`."""

    input: Sequences
    model: str | None = None
    top_k: Annotated[int, Meta(ge=1)] | None = None
    threshold: Annotated[float, Meta(ge=0, le=1)] | None = None
    truncate_prompt_tokens: Truncation | None = None
    truncation_side: Literal["left", "right"] = "right"
    use_activation: bool = True
    add_special_tokens: bool = True
    user: str | None = None


class ClassificationItem(msgspec.Struct, frozen=True):
    """`probs` follows the order of the version's labels, `scores` falls. Only a multilabel version fills `labels`,
    only a regression fills `value`."""

    index: int
    label: str | None
    probs: list[float]
    num_classes: int
    scores: list[LabelScore]
    labels: list[str] | None = None
    value: float | None = None


class ClassifyReply(msgspec.Struct, frozen=True):
    id: str
    object: str
    created: int
    model: str
    data: list[ClassificationItem]
    usage: Usage


_body = JsonBody(ClassifyRequest)
_EXAMPLE: dict[str, Any] = {
    "id": "classify-0f3a",
    "object": "list",
    "created": 1745383065,
    "model": "demo-sentiment-lstm",
    "data": [
        {
            "index": 0,
            "label": "positive",
            "probs": [0.09, 0.91],
            "num_classes": 2,
            "scores": [
                {"label": "positive", "score": 0.91},
                {"label": "negative", "score": 0.09},
            ],
            "labels": None,
            "value": None,
        }
    ],
    "usage": {"prompt_tokens": 7, "total_tokens": 7, "completion_tokens": 0, "prompt_tokens_details": None},
}
_DOCS: dict[str, Any] = {
    "summary": "Classify texts or numeric sequences",
    "description": (
        "Labels and probabilities for each input, from any version trained for classification, multilabel "
        "classification or regression."
    ),
    "response_model": None,
    "openapi_extra": reads(
        ClassifyRequest,
        one_text={"model": "demo-sentiment-lstm", "input": "I love this!"},
        several_texts={"model": "demo-sentiment-lstm", "input": ["I love this!", "Not my thing."], "top_k": 1},
        pair=Noted(
            {"model": "pairs", "input": {"text": "it rains", "text_pair": "rain is falling"}},
            "Two texts judged together, for a version trained on pairs, such as that of docs/pairs.md",
        ),
        numbers=Noted(
            {"model": "waves", "input": [[[0.1, 0], [0.4, 0.05], [0.7, 0.1], [0.9, 0.15]]]},
            "A series of steps, for a version trained on numbers, such as that of docs/numeric.md",
        ),
    ),
    "responses": replies(ClassifyReply, _EXAMPLE),
}


@router.post("/classify", operation_id="classify_alias", **_DOCS)
@router.post("/v1/classify", operation_id="classify", **_DOCS)
async def classify(request: Request) -> Response:
    body = await _body.read(request)
    context = context_of(request)
    query = InferenceQuery(
        reference_of(request, body.model),
        await context.inference.items(body.input, "input"),
        principal_of(request),
        seconds_of(request),
        LengthPolicy(truncate=body.truncate_prompt_tokens, side=body.truncation_side, special=body.add_special_tokens),
    )
    scored = await attended(request, context.inference.classify(query))
    if len(scored.rows) * len(scored.rows[0]) <= INLINE:
        return _reply(body, query.reference, scored, [_item(i, row, body, scored) for i, row in enumerate(scored.rows)])
    return await asyncio.to_thread(_long_reply, body, query.reference, scored)


def _long_reply(body: ClassifyRequest, reference: str, scored: ScoredBatch) -> Response:
    """Item by item: one call over them all would let nobody else have a turn, in whatever thread it is."""
    items = [msgspec.Raw(msgspec.json.encode(_item(i, row, body, scored))) for i, row in enumerate(scored.rows)]
    return _reply(body, reference, scored, items)


def _reply(body: ClassifyRequest, reference: str, scored: ScoredBatch, data: list[Any]) -> Response:
    """`data`: a Classification for each item, or its JSON."""
    tokens = sum(scored.lengths)
    value = ClassifyReply(
        f"classify-{uuid.uuid4().hex}", "list", int(time.time()), reference, data, Usage(tokens, tokens)
    )
    return JsonReply(value, answer_headers(scored.version.ref, tokens, scored.timing))


def _item(index: int, row: list[float], body: ClassifyRequest, scored: ScoredBatch) -> ClassificationItem:
    task, labels = scored.version.config.task, scored.version.labels
    if task == "regression":
        return ClassificationItem(index, None, [], 0, [], value=row[0])
    activated = activate(row, task)
    probs = activated if body.use_activation else row
    scores = ranked(labels, probs, body.top_k)
    above = at_least(labels, activated, _threshold(body, scored)) if task == "multilabel" else None
    return ClassificationItem(index, scores[0].label, probs, len(labels), scores, above)


def _threshold(body: ClassifyRequest, scored: ScoredBatch) -> float:
    return (
        body.threshold if body.threshold is not None else float(scored.version.assets.raw_config.get("threshold", 0.5))
    )
