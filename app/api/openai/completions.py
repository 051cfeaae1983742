"""`POST /v1/completions`: OpenAI's text completions, complete or streamed."""

from __future__ import annotations

import time
from collections.abc import Sequence

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.api.http.bodies import JsonBody
from app.api.http.caller import Caller
from app.api.http.neutral_fields import COMPLETIONS
from app.api.http.pieces import collected, streamed
from app.api.http.presence import attended
from app.api.http.replies import JsonReply, answer_headers, new_id
from app.api.http.sampling_fields import DEFAULTS, value_or
from app.api.http.services import services_of
from app.api.http.token_ids import check_token_ids
from app.api.openai.completions_choices import Framer, ReplyHead, assemble, usage_of
from app.api.openai.completions_schemas import EXAMPLE, STREAM_EXAMPLE, CompletionReply, CompletionRequest
from app.api.openai.sampling import check_sampling, sampling_params, seed_of, stops_of
from app.api.openapi.describe import reads, replies
from app.errors import InvalidRequest
from app.inference.generation import GenerationRequest
from app.inference.items import Item
from app.inference.lengths import LengthPolicy
from app.inference.queries import GenerationQuery
from app.wire.engine import SamplingParams

router = APIRouter(tags=["generation"])
_body = JsonBody(CompletionRequest, COMPLETIONS)


@router.post(
    "/v1/completions",
    operation_id="create_completion",
    summary="Continue a text",
    description=(
        "Generates text with any version trained for generation. Returns the text in one reply or, with `stream`, as "
        "server-sent events. The concatenated texts of all events equal the text of the single reply."
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
        return await streamed(request, generation, Framer(head, generation))
    return await _whole(request, generation, head)


def _check(body: CompletionRequest) -> None:
    """Check the rules that involve several fields, because the struct cannot express them. Raises InvalidRequest."""
    n, best_of = body.n or 1, body.best_of or body.n or 1
    if best_of < n:
        raise InvalidRequest(f"best_of ({best_of}) must be at least n ({n})", param="best_of")
    if body.stream and best_of > n:
        raise InvalidRequest(
            "best_of above n cannot be streamed, because the best choices are known only at the end", param="best_of"
        )
    if body.max_tokens == 0 and not body.echo:
        raise InvalidRequest("max_tokens must be 1 or more; 0 is allowed only with echo", param="max_tokens")
    check_sampling(body, value_or(body.max_tokens, DEFAULTS.max_tokens))


def _query(caller: Caller, body: CompletionRequest, items: Sequence[Item]) -> GenerationQuery:
    return GenerationQuery(
        caller.reference,
        items,
        caller.principal,
        caller.seconds,
        LengthPolicy(truncate=body.truncate_prompt_tokens, side="left", special=body.add_special_tokens),
        "prompt",
        params=_params(body),
        seed=seed_of(body),
        n=body.best_of or body.n or 1,
        stops=stops_of(body),
        cache_salt=body.cache_salt or "",
    )


def _params(body: CompletionRequest) -> SamplingParams:
    logprobs = body.logprobs
    if logprobs is None and (body.best_of or 1) > (body.n or 1):
        logprobs = 0  # continuations are ranked by the log-probabilities of their tokens
    return sampling_params(body, value_or(body.max_tokens, DEFAULTS.max_tokens), logprobs, _prompt_logprobs(body))


def _prompt_logprobs(body: CompletionRequest) -> int | None:
    """Return the number of most likely tokens to report at each position of the prompt, or None for no report. With
    `echo`, `logprobs` also applies to the prompt."""
    counts = [n for n in (body.prompt_logprobs, body.logprobs if body.echo else None) if n is not None]
    return max(counts, default=None)


async def _whole(request: Request, generation: GenerationRequest, head: ReplyHead) -> Response:
    choices = assemble(await collected(request, generation), generation, head.body)
    usage = usage_of(generation)
    reply = CompletionReply(head.id, head.created, head.model, choices, usage)
    headers = answer_headers(generation.version.ref, usage.prompt_tokens, generation.timing, usage.completion_tokens)
    return JsonReply(reply, headers)
