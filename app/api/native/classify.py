"""`POST /v1/classify`: classification in vLLM's format, extended with ranked scores."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Request
from msgspec import UNSET, Meta, UnsetType
from starlette.responses import Response

from app.api.http.bodies import JsonBody
from app.api.http.caller import Caller
from app.api.http.fields import Truncation, Usage
from app.api.http.large_replies import build_reply, check_reply_size
from app.api.http.neutral_fields import CLASSIFICATION
from app.api.http.presence import attended
from app.api.http.replies import JsonReply, answer_headers, encode_each, new_id
from app.api.http.services import services_of
from app.api.http.token_ids import check_token_ids
from app.api.openapi.describe import Noted, reads, replies
from app.errors import InvalidRequest
from app.inference.decisions import DecisionPolicy, DecisionRule, decision_rule
from app.inference.items import Pair
from app.inference.lengths import LengthPolicy
from app.inference.queries import InferenceQuery, ScoredBatch
from app.inference.scoring import LabelScore, activate, at_least, ranked
from app.inference.versions import ResolvedVersion

router = APIRouter(tags=["classification"])
Render = Callable[[int, list[float]], "ClassificationItem"]

Sequences = str | Pair | list[str | Pair | int | list[int | str | list[float]]]


class ClassifyRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A request to classify one or more inputs.

    `input` is a string, a {text, text_pair} object, token ids, or a list of these. For a version that reads numbers,
    `input` is an array of numbers with the axes batch, time and feature. `top_k` limits `scores` to the highest-scoring
    labels; a regression version has no labels and rejects `top_k`. `threshold` is the minimum probability of labels in
    `labels`; the default is the version's threshold. `truncate_prompt_tokens` is the number of tokens to which each
    input is truncated; -1 truncates it to the version's context length. If `use_activation` is false, `probs` and
    `scores` are logits, whose softmax (or sigmoid, if multilabel) gives the probabilities. If `probs` is false, the
    reply has no `probs`, which makes it much smaller for a version with many labels. A reply can contain up to
    1,000,000 probabilities and scores.

    Probabilities are calibrated if the version has a calibration. If `calibrated` is false, the calibration is not
    applied; if it is true, a version without a calibration is rejected (`no_calibration`). `prediction_set` is a
    coverage, such as 0.9: each item gets a `set` of labels or an `interval` of values, which contains the true label or
    value with this probability. Items with a score below `abstain_below` get no label. `max_risk` is the maximum share
    of wrong answers: the minimum score is chosen from the calibration such that this limit holds with a confidence of
    97.5 %. If `abstain_below` and `max_risk` are both sent, the higher minimum score applies. `prediction_set` and
    `max_risk` require a version with a calibration. If the calibration has too few rows to guarantee the coverage or
    the risk, the request is rejected (`coverage_not_attainable`, `risk_not_attainable`).
    """

    input: Sequences
    model: str | None = None
    top_k: Annotated[int, Meta(ge=1)] | None = None
    threshold: Annotated[float, Meta(ge=0, le=1)] | None = None
    truncate_prompt_tokens: Truncation | None = None
    truncation_side: Literal["left", "right"] = "right"
    probs: bool = True
    use_activation: bool = True
    add_special_tokens: bool = True
    calibrated: bool | None = None
    prediction_set: Annotated[float, Meta(gt=0, lt=1)] | None = None
    abstain_below: Annotated[float, Meta(ge=0, le=1)] | None = None
    max_risk: Annotated[float, Meta(gt=0, lt=1)] | None = None
    token_ids_of: str | None = None
    user: str | None = None


class ClassificationItem(msgspec.Struct, frozen=True, kw_only=True):
    """The result for one input.

    `probs` contains one probability for each of the version's labels, in the order of `labels` in the version's record
    (`GET /v1/registry/models/{name}/versions/{version}`); it is omitted if `probs` is false in the request. `scores` is
    in order of descending score. `labels` is set only by multilabel versions, and `value` is set only by regression
    versions.

    `set` and `interval` are present if the request has a `prediction_set`: `set` begins with the most probable label,
    and `interval` contains the lower and upper bounds. `abstained` is present if the request has `abstain_below` or
    `max_risk`; if it is true, `label` and `labels` are null.
    """

    index: int
    label: str | None
    probs: list[float] | UnsetType = UNSET
    num_classes: int
    scores: list[LabelScore]
    labels: list[str] | None = None
    value: float | None = None
    set: list[str] | UnsetType = UNSET
    interval: tuple[float, float] | UnsetType = UNSET
    abstained: bool | UnsetType = UNSET


class ClassifyReply(msgspec.Struct, frozen=True):
    """The results, in the order of the inputs."""

    id: str
    object: str
    created: int
    model: str
    data: list[ClassificationItem]
    usage: Usage


class _ClassifyBody(JsonBody[ClassifyRequest]):
    """Decodes requests. If numbers are not nested as the steps of sequences, the error shows the expected nesting."""

    def decode(self, payload: bytes, names: dict[str, str] | None = None) -> ClassifyRequest:
        try:
            return super().decode(payload, names)
        except InvalidRequest as error:
            if error.param and _FLAT.fullmatch(error.param) and error.message.endswith("not a decimal number"):
                message = f"{error.param} is a number, but it must be a list; {_STEPS}"
                raise InvalidRequest(message, param=error.param) from None
            raise


_FLAT = re.compile(r"input(\[\d+\]){0,2}")
_STEPS = (
    "numeric sequences must be [[[number]]] (batch, time, feature): the sequence 1.5, 2.5 with one feature per step is "
    "[[[1.5], [2.5]]]"
)
_body = _ClassifyBody(ClassifyRequest, CLASSIFICATION)
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
        "Returns labels and probabilities for each input, from any version trained for classification, multilabel "
        "classification or regression."
    ),
    "response_model": None,
    "openapi_extra": reads(
        ClassifyRequest,
        one_text={"model": "demo-sentiment-lstm", "input": "I love this!"},
        several_texts={"model": "demo-sentiment-lstm", "input": ["I love this!", "Not my thing."], "top_k": 1},
        pair=Noted(
            {"model": "pairs", "input": {"text": "it rains", "text_pair": "rain is falling"}},
            "A pair of texts, for a version trained on pairs, such as the one in docs/pairs.md",
        ),
        numbers=Noted(
            {"model": "waves", "input": [[[0.1, 0], [0.4, 0.05], [0.7, 0.1], [0.9, 0.15]]]},
            "A numeric sequence, for a version trained on numbers, such as the one in docs/numeric.md",
        ),
    ),
    "responses": replies(ClassifyReply, _EXAMPLE),
}


@router.post("/classify", operation_id="classify_alias", **_DOCS)
@router.post("/v1/classify", operation_id="classify", **_DOCS)
async def classify(request: Request) -> Response:
    body = await _body.read(request)
    caller, inference = Caller.read(request, body.model), services_of(request).inference
    items = await inference.items(body.input, "input")
    await check_token_ids(request, caller, items, body.token_ids_of)
    query = InferenceQuery(
        caller.reference,
        items,
        caller.principal,
        caller.seconds,
        LengthPolicy(truncate=body.truncate_prompt_tokens, side=body.truncation_side, special=body.add_special_tokens),
        calibrated=body.calibrated is not False,
    )
    scored = await attended(request, inference.classify(query, partial(_check, body, len(items))))
    rule = decision_rule(scored.version, _policy(body))

    def render(index: int, row: list[float]) -> ClassificationItem:
        return _item(index, row, body, rule, scored)

    return await build_reply(scored, partial(_reply, render, query.reference, scored))


def _policy(body: ClassifyRequest) -> DecisionPolicy:
    return DecisionPolicy(
        calibrated=body.calibrated,
        prediction_set=body.prediction_set,
        abstain_below=body.abstain_below,
        max_risk=body.max_risk,
        threshold=body.threshold,
    )


def _check(body: ClassifyRequest, items: int, version: ResolvedVersion) -> None:
    """Reject a request that the version cannot answer. Called before the engine processes the request."""
    if body.top_k is not None and not version.labels:
        message = f"top_k applies to labels, but {version.ref} predicts numbers; leave out top_k"
        raise InvalidRequest(message, code="wrong_task", param="top_k")
    _check_size(body, items, version)
    decision_rule(version, _policy(body))


def _check_size(body: ClassifyRequest, items: int, version: ResolvedVersion) -> None:
    """Reject a request whose reply would be too large."""
    labels = len(version.labels)
    scores = min(body.top_k or labels, labels)
    scores += (body.probs + (body.prediction_set is not None)) * labels
    check_reply_size(items, labels, scores, "input", "probs: false and a top_k, or fewer inputs")


def _reply(render: Render, reference: str, scored: ScoredBatch) -> Response:
    data: list[Any] = encode_each(render(i, row) for i, row in enumerate(scored.rows))
    tokens = sum(scored.lengths)
    value = ClassifyReply(new_id("classify"), "list", int(time.time()), reference, data, Usage(tokens, tokens))
    return JsonReply(value, answer_headers(scored.version.ref, tokens, scored.timing))


def _item(
    index: int, row: list[float], body: ClassifyRequest, rule: DecisionRule, scored: ScoredBatch
) -> ClassificationItem:
    task, labels = scored.version.config.task, scored.version.labels
    if task == "regression":
        return _value(index, row[0], body, rule)
    activated = activate(row, task)
    probs = activated if body.use_activation else row
    scores = ranked(labels, probs, body.top_k)
    above = at_least(labels, activated, _threshold(body, scored)) if task == "multilabel" else None
    abstained = rule.abstains(activated)
    return ClassificationItem(
        index=index,
        label=None if abstained else scores[0].label,
        probs=probs if body.probs else UNSET,
        num_classes=len(labels),
        scores=scores,
        labels=None if abstained else above,
        set=UNSET if rule.quantiles is None else rule.members(labels, activated),
        abstained=UNSET if rule.least_score is None else abstained,
    )


def _value(index: int, value: float, body: ClassifyRequest, rule: DecisionRule) -> ClassificationItem:
    """Return the item for a value that a regression predicts."""
    return ClassificationItem(
        index=index,
        label=None,
        probs=[] if body.probs else UNSET,
        num_classes=0,
        scores=[],
        value=value,
        interval=UNSET if rule.quantiles is None else rule.interval(value),
    )


def _threshold(body: ClassifyRequest, scored: ScoredBatch) -> float:
    """Return the request's threshold. The default is the threshold in the version's `config.json`, or 0.5."""
    if body.threshold is not None:
        return body.threshold
    return scored.version.threshold
