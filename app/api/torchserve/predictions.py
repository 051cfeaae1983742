"""`/predictions/{name}`: predictions in the format of TorchServe's text handlers."""

from __future__ import annotations

from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import PlainTextResponse, Response

from app.api.http.caller import Caller
from app.api.http.large_replies import build_reply, check_reply_size
from app.api.http.pieces import collected
from app.api.http.presence import attended
from app.api.http.replies import JsonReply, answer_headers, encode_each
from app.api.http.sampling_fields import DEFAULTS, masked, value_or
from app.api.http.services import services_of
from app.api.openapi.describe import INFERENCE, NUMBER, define, failures, inputs, list_schema
from app.api.openapi.schemas import Schema
from app.api.torchserve.bodies import PredictionRequest, read_body
from app.api.torchserve.references import reference_of
from app.inference.generation import GenerationRequest
from app.inference.queries import GenerationQuery, InferenceQuery, ScoredBatch
from app.inference.scoring import activate, ranked
from app.inference.versions import ResolvedVersion
from app.wire.engine import SamplingParams

router = APIRouter(tags=["TorchServe"])

_SCORES = {"positive": 0.91, "negative": 0.09}
_PROBABILITIES = {"type": "object", "description": "Probabilities by label", "additionalProperties": NUMBER}
_ONE = [define("Probabilities", _PROBABILITIES), NUMBER]
_SEVERAL = list_schema({"anyOf": [*_ONE, {"type": "string"}]})
_PREDICTIONS = {
    "type": "object",
    "description": "The results for the inputs in `instances`",
    "properties": {"predictions": _SEVERAL},
    "required": ["predictions"],
}
_RESULT: Schema = {
    "description": "For one input, probabilities by label, or a number; for several inputs, a list of results",
    "anyOf": [define("Predictions", _PREDICTIONS), *_ONE, _SEVERAL],
}
_DOCS: dict[str, Any] = {
    "description": (
        "Returns the probability of each label, the value of a regression, or generated text. The body is the text "
        "itself, JSON, or the field `data` of a form. The reply to a list of inputs is a list, and the reply to "
        "`instances` is an object with `predictions`."
    ),
    "response_model": None,
    "openapi_extra": inputs(
        PredictionRequest,
        json={"data": "I love this!"},
        several_texts={"instances": [{"data": "I love this!"}, {"data": "Not my thing."}]},
    ),
    "responses": {
        200: {
            "description": "Success",
            "content": {
                "application/json": {
                    "schema": _RESULT,
                    "examples": {
                        "one input": {"value": _SCORES},
                        "several inputs": {"value": {"predictions": [_SCORES, _SCORES]}},
                    },
                },
                "text/plain": {"schema": {"type": "string"}, "example": "Once upon a time"},
            },
        },
        **failures(*INFERENCE),
    },
}
_BY = "(with PUT, as `curl -T` sends a file)"


@router.put("/predictions/{name}", operation_id="put_prediction", summary=f"Predict {_BY}", **_DOCS)
@router.post("/predictions/{name}", operation_id="predict", summary="Predict", **_DOCS)
async def predict(request: Request, name: str) -> Response:
    return await _answer(request, reference_of(name, None))


_VERSIONED = {"summary": "Predict with one version", **_DOCS}


@router.put(
    "/predictions/{name}/{version}",
    operation_id="put_version_prediction",
    **{**_DOCS, "summary": f"Predict with one version {_BY}"},
)
@router.post("/predictions/{name}/{version}", operation_id="predict_with_version", **_VERSIONED)
async def predict_with_version(request: Request, name: str, version: str) -> Response:
    return await _answer(request, reference_of(name, version))


async def _answer(request: Request, reference: str) -> Response:
    body = await read_body(request)
    caller, inference = Caller.read(request, reference), services_of(request).inference
    value = body.value
    version = await inference.versions.get(caller.reference, caller.principal)
    if version.config.task == "generation":
        return await _generated(request, caller, body, value)
    items = await inference.items(value, body.field)
    query = InferenceQuery(caller.reference, items, caller.principal, caller.seconds, param=body.field)

    def check(version: ResolvedVersion) -> None:
        check_reply_size(len(items), len(version.labels), len(version.labels), body.field)

    scored = await attended(request, inference.classify(query, check))
    return await build_reply(scored, partial(_scored_reply, scored, body))


def _scored_reply(scored: ScoredBatch, body: PredictionRequest) -> Response:
    results = encode_each(_result(row, scored) for row in scored.rows)
    return JsonReply(_shaped(results, body), answer_headers(scored.version.ref, sum(scored.lengths), scored.timing))


def _result(row: list[float], scored: ScoredBatch) -> Any:
    """Each label's probability, in descending order, or the predicted value for a regression."""
    task = scored.version.config.task
    if task == "regression":
        return row[0]
    return {entry.label: entry.score for entry in ranked(scored.version.labels, activate(row, task))}


def _shaped(results: list[Any], body: PredictionRequest) -> Any:
    """The results in the same form as the inputs: an object with `predictions`, a list, or a single result."""
    if body.instances is not None:
        return {"predictions": results}
    return results if isinstance(body.data, list) else results[0]


async def _generated(request: Request, caller: Caller, body: PredictionRequest, value: Any) -> Response:
    inference = services_of(request).inference
    items = await inference.items([value] if isinstance(value, str) else value, body.field, blank=True)
    query = GenerationQuery(
        caller.reference,
        items,
        caller.principal,
        caller.seconds,
        param=body.field,
        params=_params(body),
        seed=masked(body.seed),
        open_ended=body.max_new_tokens is None,
        limit_param="max_new_tokens",
    )
    generation = await attended(request, inference.generate(query))
    texts = await _texts(request, generation)
    headers = answer_headers(
        generation.version.ref, generation.prompt_tokens, generation.timing, generation.generated_tokens
    )
    shaped = _shaped(texts, body)
    return PlainTextResponse(shaped, headers=headers) if isinstance(shaped, str) else JsonReply(shaped, headers)


async def _texts(request: Request, generation: GenerationRequest) -> list[str]:
    texts = [""] * len(generation.choices)
    for piece in await collected(request, generation):
        texts[piece.index] += piece.text
    return texts


def _params(body: PredictionRequest) -> SamplingParams:
    return SamplingParams(
        max_tokens=value_or(body.max_new_tokens, 1),
        temperature=value_or(body.temperature, DEFAULTS.temperature),
        top_k=max(0, value_or(body.top_k, DEFAULTS.top_k)),
        top_p=value_or(body.top_p, DEFAULTS.top_p),
    )
