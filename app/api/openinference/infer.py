"""`POST /v2/models/{name}[/versions/{version}]/infer`."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.api.http.caller import Caller
from app.api.http.large_replies import build_reply, check_reply_size
from app.api.http.pieces import collected
from app.api.http.presence import attended
from app.api.http.replies import answer_headers
from app.api.http.sampling_fields import masked
from app.api.http.services import services_of
from app.api.http.vectors import INLINE
from app.api.openapi.describe import reads, replies
from app.api.openinference import outputs, signature
from app.api.openinference.bodies import parameters_of, read_body
from app.api.openinference.infer_schemas import REPLY, REQUEST, InferReply, InferRequest
from app.api.openinference.items import items_of
from app.api.openinference.references import reference_of, unversioned
from app.api.openinference.sampling import InferSampling, params_of, stops_of
from app.inference.items import Item
from app.inference.queries import GenerationQuery, InferenceQuery
from app.inference.versions import ResolvedVersion

router = APIRouter(prefix="/v2/models/{name}", tags=["Open Inference Protocol"])
InferAnswer = tuple[list[outputs.OutputValues], dict[str, str]]  # the outputs, and the headers of the reply
_REPLIES = replies(InferReply, REPLY)
_REPLIES[200]["content"]["application/octet-stream"] = {"schema": {"type": "string", "format": "binary"}}
_DOCS: dict[str, Any] = {
    "description": (
        "Classifies texts or numeric sequences, or continues texts. Tensors may be sent and received as bytes after "
        "the JSON. The header `Inference-Header-Content-Length` then contains the length of the JSON."
    ),
    "response_model": None,
    "openapi_extra": reads(InferRequest, texts=REQUEST),
    "responses": _REPLIES,
}


@router.post(
    "/versions/{version}/infer",
    operation_id="infer_with_version",
    summary="Run one version (Open Inference Protocol)",
    **_DOCS,
)
async def infer(request: Request, name: str, version: str) -> Response:
    return await _answer(request, reference_of(name, version))


router.post("/infer", operation_id="infer", summary="Run a model (Open Inference Protocol)", **_DOCS)(
    unversioned(infer)
)


async def _answer(request: Request, reference: str) -> Response:
    body, elements = await read_body(request)
    parameters, inference = parameters_of(body), services_of(request).inference
    caller = _hurried(Caller.read(request, reference), parameters.timeout)
    version = await inference.versions.get(caller.reference, caller.principal)
    names = [output.name for output in signature.outputs_of(version.config, len(version.labels))]
    outputs.check_outputs(body.outputs, names)
    value = items_of(version.config, body.inputs, elements)
    items = await inference.items(value, "inputs", blank=version.config.task == "generation")
    if version.config.task == "generation":
        values, headers = await _generated(request, caller, items, parameters)
    else:
        values, headers = await _scored(request, caller, items)
    accepted = request.headers.get("accept-encoding") or ""
    binary = bool(parameters.binary_data_output)
    arguments = body, binary, version.record.model, str(version.record.version), values, accepted
    if sum(len(entry.elements) for entry in values) <= INLINE:
        reply = outputs.reply(*arguments)
    else:
        reply = await asyncio.to_thread(outputs.reply, *arguments)
    reply.headers.update(headers)
    return reply


def _hurried(caller: Caller, timeout: int | None) -> Caller:
    """Return the caller. If `timeout` is given, limits the caller's time to this number of microseconds."""
    return caller if not timeout else replace(caller, seconds=min(caller.seconds, timeout / 1e6))


async def _scored(request: Request, caller: Caller, items: list[Item]) -> InferAnswer:
    query = InferenceQuery(caller.reference, items, caller.principal, caller.seconds, param="inputs")

    def check(version: ResolvedVersion) -> None:
        check_reply_size(len(items), len(version.labels), len(version.labels), "inputs")

    scored = await attended(request, services_of(request).inference.classify(query, check))
    headers = answer_headers(scored.version.ref, sum(scored.lengths), scored.timing)
    return await build_reply(scored, partial(outputs.scored_outputs, scored)), headers


async def _generated(request: Request, caller: Caller, items: list[Item], sampling: InferSampling) -> InferAnswer:
    query = GenerationQuery(
        caller.reference, items, caller.principal, caller.seconds, param="inputs", params=params_of(sampling),
        seed=masked(sampling.seed), stops=stops_of(sampling),
    )  # fmt: skip
    generation = await attended(request, services_of(request).inference.generate(query))
    texts = [""] * len(generation.choices)
    for piece in await collected(request, generation):
        texts[piece.index] += piece.text
    headers = answer_headers(
        generation.version.ref, generation.prompt_tokens, generation.timing, generation.generated_tokens
    )
    return [outputs.OutputValues(signature.CONTINUATION, [len(texts)], texts)], headers
