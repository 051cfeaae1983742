"""`POST /v1/chat/completions`: OpenAI's chat completions, complete or streamed."""

from __future__ import annotations

import time

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.api.http.bodies import JsonBody
from app.api.http.caller import Caller
from app.api.http.neutral_fields import CHAT
from app.api.http.pieces import collected, streamed
from app.api.http.presence import attended
from app.api.http.replies import JsonReply, answer_headers, new_id
from app.api.http.services import services_of
from app.api.openai.chat_choices import ChatFramer, ChatHead, answers
from app.api.openai.chat_schemas import (
    EXAMPLE,
    STREAM_EXAMPLE,
    ChatChunk,
    ChatMessage,
    ChatReply,
    ChatRequest,
)
from app.api.openai.completions_choices import usage_of
from app.api.openai.messages import plain_message
from app.api.openai.sampling import check_sampling, sampling_params, seed_of, stops_of
from app.api.openapi.describe import Noted, reads, replies
from app.errors import InvalidRequest
from app.inference.conversations import Conversation
from app.inference.generation import GenerationRequest
from app.inference.lengths import LengthPolicy
from app.inference.queries import GenerationQuery
from app.tokenization.chat import ANSWER_LEAD

router = APIRouter(tags=["generation"])
_body = JsonBody(ChatRequest, CHAT)
NEEDS = "Needs a version that was trained on conversations, or OSTINATO_CHAT_FALLBACK=1"
REQUEST = {
    "model": "demo-text-lstm",
    "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello!"}],
    "max_completion_tokens": 32,
}


@router.post(
    "/v1/chat/completions",
    operation_id="create_chat_completion",
    summary="Continue a conversation",
    description=(
        "Generates the next answer in a conversation, with a version that was trained on conversations. Returns the "
        "answer in one reply or, with `stream`, as server-sent events. The concatenated texts of all events equal the "
        "text of the single reply. With `OSTINATO_CHAT_FALLBACK=1`, every language model can answer. The model reads "
        "each message as a line of the form `role: text`."
    ),
    response_model=None,
    openapi_extra=reads(ChatRequest, whole=Noted(REQUEST, NEEDS), streamed=Noted({**REQUEST, "stream": True}, NEEDS)),
    responses=replies(ChatReply, EXAMPLE, stream=STREAM_EXAMPLE, event=ChatChunk),
)
async def create_chat_completion(request: Request) -> Response:
    return await _answer(request, None)


@router.post(
    "/models/{name}/v1/chat/completions",
    operation_id="create_chat_completion_of_model",
    summary="Continue a conversation, with the model in the path (Hugging Face)",
    description="For Hugging Face's clients, which append `/v1/chat/completions` to the URL of a model. `model` in the "
    "body has no effect.",
    response_model=None,
    openapi_extra=reads(ChatRequest, whole=Noted(REQUEST, NEEDS)),
    responses=replies(ChatReply, EXAMPLE, stream=STREAM_EXAMPLE, event=ChatChunk),
)
async def create_chat_completion_of_model(request: Request, name: str) -> Response:
    return await _answer(request, name)


async def _answer(request: Request, model: str | None) -> Response:
    """Answer with the model in the path or, if there is none, the model in the body."""
    body = await _body.read(request)
    _check(body)
    caller, services = Caller.read(request, model or body.model), services_of(request)
    messages = [_plain(message, f"messages[{i}]") for i, message in enumerate(body.messages)]
    query = _query(caller, body, Conversation(messages, services.settings.chat_fallback))
    generation = await attended(request, services.inference.generate(query))
    head = ChatHead(new_id("chatcmpl"), int(time.time()), caller.reference, body)
    if body.stream:
        return await streamed(request, generation, ChatFramer(head, generation))
    return await _whole(request, generation, head)


def _check(body: ChatRequest) -> None:
    """Check the rules that involve several fields, because the struct cannot express them. Raises InvalidRequest."""
    new, old = body.max_completion_tokens, body.max_tokens
    if new is not None and old is not None and new != old:
        raise InvalidRequest(
            f"max_completion_tokens is {new}, but max_tokens is {old}, and both mean the same; send only one of them",
            param="max_tokens",
        )
    if body.top_logprobs and not body.logprobs:
        raise InvalidRequest("top_logprobs requires logprobs to be true", param="top_logprobs")
    check_sampling(body, new or old)


def _plain(message: ChatMessage, place: str) -> dict[str, str]:
    if message.tool_calls:
        raise InvalidRequest(f"{place}.tool_calls is not supported; leave it out", param=f"{place}.tool_calls")
    content = message.refusal if message.content is None else message.content
    plain = plain_message(message.role, content, place)  # first, so that the error for a tool's message names the role
    if message.tool_call_id:
        raise InvalidRequest(f"{place}.tool_call_id is not supported; leave it out", param=f"{place}.tool_call_id")
    return plain


def _query(caller: Caller, body: ChatRequest, conversation: Conversation) -> GenerationQuery:
    limit = body.max_completion_tokens or body.max_tokens
    return GenerationQuery(
        caller.reference,
        [conversation],
        caller.principal,
        caller.seconds,
        LengthPolicy(truncate=body.truncate_prompt_tokens, side="left"),
        "messages",
        params=sampling_params(body, limit or 1, (body.top_logprobs or 0) if body.logprobs else None),
        seed=seed_of(body),
        n=body.n or 1,
        stops=stops_of(body),
        cache_salt=body.cache_salt or "",
        open_ended=limit is None,
        lead=ANSWER_LEAD,
        limit_param="max_tokens" if body.max_completion_tokens is None else "max_completion_tokens",
    )


async def _whole(request: Request, generation: GenerationRequest, head: ChatHead) -> Response:
    choices = answers(await collected(request, generation), generation, head.body)
    usage = usage_of(generation)
    reply = ChatReply(head.id, head.created, head.model, choices, usage)
    headers = answer_headers(generation.version.ref, usage.prompt_tokens, generation.timing, usage.completion_tokens)
    return JsonReply(reply, headers)
