"""`POST /v1/completions`: OpenAI's text completions, complete or streamed."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TypeVar

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from app.api.http.bodies import JsonBody
from app.api.http.caller import Caller
from app.api.http.neutral_fields import COMPLETIONS
from app.api.http.presence import attended
from app.api.http.replies import JsonReply, answer_headers, new_id
from app.api.http.services import services_of
from app.api.http.sse import EventStream, frame
from app.api.http.token_ids import check_token_ids
from app.api.openai.completions_choices import Framer, ReplyHead, assemble, usage_of
from app.api.openai.completions_schemas import (
    DEFAULTS,
    EXAMPLE,
    STREAM_EXAMPLE,
    CompletionReply,
    CompletionRequest,
)
from app.api.openapi.describe import reads, replies
from app.errors import InvalidRequest
from app.inference.generation import GenerationRequest, Piece, Stops
from app.inference.inputs import Item, LengthPolicy
from app.inference.queries import GenerationQuery
from app.wire.engine import SamplingParams

router = APIRouter(tags=["generation"])
_body = JsonBody(CompletionRequest, COMPLETIONS)
SEED_MASK = (1 << 63) - 1  # the engine accepts seeds from 0 to 2**63 - 1
T = TypeVar("T")


@router.post(
    "/v1/completions",
    operation_id="create_completion",
    summary="Continue a text",
    description=(
        "Generates text with any version trained for generation. Returns it in one reply or, with `stream`, as "
        "server-sent events. The texts of all events, joined, equal the text of the single reply."
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
    caller, inference = Caller.read(request, body.model), services_of(request).inference
    prompts = [body.prompt] if isinstance(body.prompt, str) else body.prompt
    items = await inference.items(prompts, "prompt", blank=True)
    await check_token_ids(request, caller, items, body.token_ids_of)
    query = _query(caller, body, items)
    generation = await attended(request, inference.generate(query))
    head = ReplyHead(new_id("cmpl"), int(time.time()), caller.reference, body)
    if body.stream:
        return await _streamed(request, generation, head)
    return await _whole(request, generation, head)


def _check(body: CompletionRequest) -> None:
    """Check the rules between fields, which the struct cannot express. Raises InvalidRequest."""
    n, best_of = body.n or 1, body.best_of or body.n or 1
    if best_of < n:
        raise InvalidRequest(f"best_of ({best_of}) must be at least n ({n})", param="best_of")
    if body.stream and best_of > n:
        raise InvalidRequest(
            "best_of above n cannot be streamed, because the best choices are known only at the end", param="best_of"
        )
    if body.stream_options is not None and not body.stream:
        raise InvalidRequest("stream_options requires stream to be true", param="stream_options")
    if body.max_tokens == 0 and not body.echo:
        raise InvalidRequest("max_tokens must be 1 or more; 0 is allowed only with echo", param="max_tokens")
    if body.min_tokens > _or(body.max_tokens, DEFAULTS.max_tokens):
        raise InvalidRequest("min_tokens must not be above max_tokens", param="min_tokens")
    if body.response_format is not None and body.response_format != {"type": "text"}:
        raise InvalidRequest(
            "response_format must be {'type': 'text'}; no other format is supported", param="response_format"
        )


def _query(caller: Caller, body: CompletionRequest, items: Sequence[Item]) -> GenerationQuery:
    stop = (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())
    return GenerationQuery(
        caller.reference,
        items,
        caller.principal,
        caller.seconds,
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
        logprobs = 0  # continuations are ranked by the log-probabilities of their tokens
    return SamplingParams(
        max_tokens=_or(body.max_tokens, DEFAULTS.max_tokens),
        min_tokens=body.min_tokens,
        temperature=_or(body.temperature, DEFAULTS.temperature),
        top_k=max(0, _or(body.top_k, DEFAULTS.top_k)),  # vLLM's -1 means all tokens, like 0
        top_p=_or(body.top_p, DEFAULTS.top_p),
        min_p=_or(body.min_p, DEFAULTS.min_p),
        typical_p=_or(body.typical_p, DEFAULTS.typical_p),
        repetition_penalty=_or(body.repetition_penalty, DEFAULTS.repetition_penalty),
        presence_penalty=_or(body.presence_penalty, DEFAULTS.presence_penalty),
        frequency_penalty=_or(body.frequency_penalty, DEFAULTS.frequency_penalty),
        logit_bias=dict(body.logit_bias or {}),
        stop_token_ids=tuple(body.stop_token_ids or ()),
        ignore_eos=body.ignore_eos,
        logprobs=logprobs,
        prompt_logprobs=_prompt_logprobs(body),
    )


def _prompt_logprobs(body: CompletionRequest) -> int | None:
    """Return the number of alternatives for prompt tokens. With `echo`, `logprobs` also applies to the prompt."""
    counts = [n for n in (body.prompt_logprobs, body.logprobs if body.echo else None) if n is not None]
    return max(counts, default=None)


def _or(value: T | None, default: T) -> T:
    """Replace null with the default, because OpenAI's clients may send null to request the default."""
    return default if value is None else value


async def _whole(request: Request, generation: GenerationRequest, head: ReplyHead) -> Response:
    pieces = await attended(request, _collect(generation))
    choices = assemble(pieces, generation, head.body)
    usage = usage_of(generation)
    reply = CompletionReply(head.id, head.created, head.model, choices, usage)
    headers = answer_headers(generation.version.ref, usage.prompt_tokens, generation.timing, usage.completion_tokens)
    return JsonReply(reply, headers)


async def _collect(generation: GenerationRequest) -> list[Piece]:
    async with aclosing(generation.pieces()) as pieces:
        return [piece async for piece in pieces]


async def _streamed(request: Request, generation: GenerationRequest, head: ReplyHead) -> Response:
    # The headers are sent only after the first piece has arrived, so that an earlier error of the engine is sent as a
    # plain error reply.
    pieces = generation.pieces()
    first = await attended(request, anext(pieces))
    headers = answer_headers(generation.version.ref, generation.prompt_tokens, generation.timing, ended=False)
    frames = _frames(first, pieces, generation, head)
    return EventStream(frames, headers, generation.until, close=generation.close)


async def _frames(
    first: Piece, pieces: AsyncGenerator[Piece, None], generation: GenerationRequest, head: ReplyHead
) -> AsyncGenerator[bytes, None]:
    framer = Framer(head, generation)
    try:
        for prompt in framer.opening():
            yield prompt
        if event := framer.frame(first):
            yield event
        async for piece in pieces:
            if event := framer.frame(piece):
                yield event
    finally:
        await pieces.aclose()
    if head.body.stream_options is not None and head.body.stream_options.include_usage:
        yield frame(msgspec.structs.replace(framer.empty(), usage=usage_of(generation)))
