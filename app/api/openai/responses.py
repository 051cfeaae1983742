"""`POST /v1/responses`: OpenAI's Responses API. Responses are complete or streamed, and are not stored."""

from __future__ import annotations

import time

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.api.http.bodies import JsonBody
from app.api.http.caller import Caller
from app.api.http.neutral_fields import RESPONSES
from app.api.http.pieces import collected, streamed
from app.api.http.presence import attended
from app.api.http.replies import JsonReply, answer_headers, new_id
from app.api.http.sampling_fields import DEFAULTS, value_or
from app.api.http.services import services_of
from app.api.openai.messages import plain_message
from app.api.openai.responses_events import ResponseEvents, ResponseHead, whole_response
from app.api.openai.responses_schemas import (
    EXAMPLE,
    STREAM_EXAMPLE,
    InputItem,
    ResponseEvent,
    ResponseObject,
    ResponseRequest,
)
from app.api.openapi.describe import Noted, reads, replies
from app.errors import InvalidRequest
from app.inference.conversations import Conversation
from app.inference.generation import GenerationRequest
from app.inference.lengths import LengthPolicy
from app.inference.queries import GenerationQuery
from app.tokenization.chat import ANSWER_LEAD
from app.wire.engine import SamplingParams

router = APIRouter(tags=["generation"])
_body = JsonBody(ResponseRequest, RESPONSES)
NEEDS = "Needs a version that was trained on conversations, or OSTINATO_CHAT_FALLBACK=1"
INPUT = {"model": "demo-text-lstm", "instructions": "Be brief.", "input": "Hello!", "max_output_tokens": 32}


@router.post(
    "/v1/responses",
    operation_id="create_response",
    summary="Create a response to a conversation",
    description=(
        "Generates the next answer in a conversation, like `/v1/chat/completions`, in the format of OpenAI's Responses "
        "API. Responses are not stored, so `input` must contain the whole conversation. With `stream`, the answer is "
        "sent as server-sent events, the last of which is `response.completed`, `response.incomplete` or "
        "`response.failed`."
    ),
    response_model=None,
    openapi_extra=reads(ResponseRequest, whole=Noted(INPUT, NEEDS), streamed=Noted({**INPUT, "stream": True}, NEEDS)),
    responses=replies(ResponseObject, EXAMPLE, stream=STREAM_EXAMPLE, event=ResponseEvent, done=False),
)
async def create_response(request: Request) -> Response:
    body = await _body.read(request)
    if body.text is not None and body.text.format not in (None, {"type": "text"}):
        raise InvalidRequest("text.format must be {'type': 'text'}; no other format is supported", param="text.format")
    if body.stream_options is not None and not body.stream:
        raise InvalidRequest("stream_options requires stream to be true", param="stream_options")
    caller, services = Caller.read(request, body.model), services_of(request)
    head = ResponseHead(_id("resp"), _id("msg"), int(time.time()), caller.reference, body)
    query = _query(caller, head, Conversation(_messages(body), services.settings.chat_fallback))
    generation = await attended(request, services.inference.generate(query))
    if body.stream:
        events = ResponseEvents(head, generation)
        return await streamed(request, generation, events, events.failed, b"")
    return await _whole(request, generation, head)


def _id(prefix: str) -> str:
    return new_id(prefix).replace("-", "_")


def _messages(body: ResponseRequest) -> list[dict[str, str]]:
    first = [] if body.instructions is None else [{"role": "system", "content": body.instructions}]
    if isinstance(body.input, str):
        return [*first, {"role": "user", "content": body.input}]
    return first + [_message(item, f"input[{i}]") for i, item in enumerate(body.input)]


def _message(item: InputItem, place: str) -> dict[str, str]:
    if item.type != "message":
        raise InvalidRequest(
            f"{place} is of type {item.type[:60]!a}, which is not supported; send only messages", param=f"{place}.type"
        )
    if item.role is None:
        raise InvalidRequest(f"{place}.role is missing", param=f"{place}.role")
    return plain_message(item.role, item.content, place)


def _query(caller: Caller, head: ResponseHead, conversation: Conversation) -> GenerationQuery:
    body = head.body
    params = SamplingParams(
        max_tokens=body.max_output_tokens or 1,
        temperature=value_or(body.temperature, DEFAULTS.temperature),
        top_p=value_or(body.top_p, DEFAULTS.top_p),
        logprobs=head.alternatives,
    )
    return GenerationQuery(
        caller.reference,
        [conversation],
        caller.principal,
        caller.seconds,
        LengthPolicy(truncate=-1 if body.truncation == "auto" else None, side="left", remedy="truncation: auto"),
        "input",
        params=params,
        open_ended=body.max_output_tokens is None,
        cache_salt=body.cache_salt or "",
        lead=ANSWER_LEAD,
        limit_param="max_output_tokens",
    )


async def _whole(request: Request, generation: GenerationRequest, head: ResponseHead) -> Response:
    reply = whole_response(await collected(request, generation), head, generation)
    tokens = generation.prompt_tokens, generation.generated_tokens
    return JsonReply(reply, answer_headers(generation.version.ref, tokens[0], generation.timing, tokens[1]))
