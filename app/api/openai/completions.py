"""OpenAI's text completions, plain and streamed. Knows fields and frames; the use case is `Inference.generate`."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from app.api.http.auth import principal_of
from app.api.http.bodies import JsonBody, reference_of, seconds_of
from app.api.http.context import context_of
from app.api.http.presence import attended
from app.api.http.replies import JsonReply, answer_headers
from app.api.http.sse import EventStream, frame
from app.api.openai.completions_choices import Framer, Told, assemble, usage_of
from app.api.openai.completions_schemas import EXAMPLE, STREAM_EXAMPLE, CompletionReply, CompletionRequest
from app.api.openapi.describe import reads, replies
from app.errors import InvalidRequest
from app.inference.generation import GenerationRequest, Piece, Stops
from app.inference.inputs import Item, LengthPolicy
from app.inference.queries import GenerationQuery
from app.wire.engine import SamplingParams

router = APIRouter(tags=["generation"])
_body = JsonBody(CompletionRequest)
SEED_MASK = (1 << 63) - 1


@router.post(
    "/v1/completions",
    operation_id="create_completion",
    summary="Continue a text",
    description=(
        "Text from any version trained for generation, whole or as server-sent events (`stream`). Joined, the "
        "events' texts are the text of the whole reply."
    ),
    response_model=None,
    openapi_extra=reads(
        CompletionRequest,
        whole={"model": "demo-text-lstm", "prompt": "Once upon", "max_tokens": 64, "temperature": 0.8},
        streamed={"model": "demo-text-lstm", "prompt": "Once upon", "max_tokens": 64, "stream": True},
    ),
    responses=replies(CompletionReply, EXAMPLE, stream=STREAM_EXAMPLE),
)
async def create_completion(request: Request) -> Response:
    body = await _body.read(request)
    _check(body)
    inference = context_of(request).inference
    prompts = [body.prompt] if isinstance(body.prompt, str) and body.prompt else body.prompt
    query = _query(request, body, await inference.items(prompts, "prompt", blank=True))
    generation = await attended(request, inference.generate(query))
    told = Told(f"cmpl-{uuid.uuid4().hex}", int(time.time()), query.reference, body)
    if body.stream:
        return await _streamed(request, generation, told)
    return await _whole(request, generation, told)


def _check(body: CompletionRequest) -> None:
    """What no single field can say of itself."""
    n, best_of = body.n or 1, body.best_of or body.n or 1
    if best_of < n:
        raise InvalidRequest(f"best_of ({best_of}) must be at least n ({n})", param="best_of")
    if body.stream and best_of > n:
        raise InvalidRequest("best_of above n cannot be streamed: the best is known only at the end", param="best_of")
    if body.stream_options is not None and not body.stream:
        raise InvalidRequest("stream_options needs stream: true", param="stream_options")
    if body.max_tokens == 0 and not body.echo:
        raise InvalidRequest("max_tokens must be 1 or more (0 only with echo)", param="max_tokens")
    if body.min_tokens > (16 if body.max_tokens is None else body.max_tokens):
        raise InvalidRequest("min_tokens must not be above max_tokens", param="min_tokens")
    if body.response_format is not None and body.response_format != {"type": "text"}:
        raise InvalidRequest("response_format can only be {'type': 'text'} here", param="response_format")


def _query(request: Request, body: CompletionRequest, items: Sequence[Item]) -> GenerationQuery:
    stop = (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())
    return GenerationQuery(
        reference_of(request, body.model),
        items,
        principal_of(request),
        seconds_of(request),
        LengthPolicy(truncate=body.truncate_prompt_tokens, side="left", special=body.add_special_tokens),
        "prompt",
        params=_params(body),
        seed=None if body.seed is None else body.seed & SEED_MASK,
        n=body.best_of or body.n or 1,
        stops=Stops(stop, body.include_stop_str_in_output),
    )


def _params(body: CompletionRequest) -> SamplingParams:
    logprobs = body.logprobs
    if logprobs is None and (body.best_of or 1) > (body.n or 1):
        logprobs = 0  # the ranking needs the tokens' own
    return SamplingParams(
        max_tokens=16 if body.max_tokens is None else body.max_tokens,
        min_tokens=body.min_tokens,
        temperature=_or(body.temperature, 1.0),
        top_k=max(0, body.top_k or 0),
        top_p=_or(body.top_p, 1.0),
        min_p=_or(body.min_p, 0.0),
        typical_p=_or(body.typical_p, 1.0),
        repetition_penalty=_or(body.repetition_penalty, 1.0),
        presence_penalty=_or(body.presence_penalty, 0.0),
        frequency_penalty=_or(body.frequency_penalty, 0.0),
        logit_bias=dict(body.logit_bias or {}),
        stop_token_ids=tuple(body.stop_token_ids or ()),
        ignore_eos=body.ignore_eos,
        logprobs=logprobs,
        prompt_logprobs=_prompt_logprobs(body),
    )


def _prompt_logprobs(body: CompletionRequest) -> int | None:
    asked = [n for n in (body.prompt_logprobs, body.logprobs if body.echo else None) if n is not None]
    return max(asked, default=None)


def _or(value: float | None, default: float) -> float:
    """A null in a request means the default."""
    return default if value is None else value


async def _whole(request: Request, generation: GenerationRequest, told: Told) -> Response:
    pieces = await attended(request, _collect(generation))
    choices = assemble(pieces, generation, told.body)
    usage = usage_of(generation)
    reply = CompletionReply(told.id, told.created, told.model, choices, usage)
    headers = answer_headers(generation.version.ref, usage.prompt_tokens, generation.timing, usage.completion_tokens)
    return JsonReply(reply, headers)


async def _collect(generation: GenerationRequest) -> list[Piece]:
    async with aclosing(generation.pieces()) as pieces:
        return [piece async for piece in pieces]


async def _streamed(request: Request, generation: GenerationRequest, told: Told) -> Response:
    """Waits for the first piece, so that what the engine refuses is a plain error and no broken stream."""
    pieces = generation.pieces()
    first = await attended(request, anext(pieces))
    headers = answer_headers(generation.version.ref, generation.prompt_tokens, generation.timing, ended=False)
    frames = _frames(first, pieces, generation, told)
    return EventStream(frames, headers, generation.until, close=generation.close)


async def _frames(
    first: Piece, pieces: AsyncGenerator[Piece, None], generation: GenerationRequest, told: Told
) -> AsyncGenerator[bytes, None]:
    framer = Framer(told, generation)
    try:
        for start in framer.opening():
            yield start
        if found := framer.frame(first):
            yield found
        async for piece in pieces:
            if found := framer.frame(piece):
                yield found
    finally:
        await pieces.aclose()
    if told.body.stream_options is not None and told.body.stream_options.include_usage:
        yield frame(msgspec.structs.replace(framer.empty(), usage=usage_of(generation)))
