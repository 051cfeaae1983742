"""`POST /api/chat`: continues a conversation."""

from __future__ import annotations

import time
from functools import partial

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.api.http.bodies import JsonBody
from app.api.http.presence import attended
from app.api.http.services import services_of
from app.api.ollama.lines import NDJSON, answer, loaded, now
from app.api.ollama.queries import generation_query
from app.api.ollama.references import CURL, caller_of
from app.api.ollama.schemas import ANSWER, ANSWER_LINES, OllamaAnswer, OllamaChatReply, OllamaChatRequest
from app.api.openapi.describe import Noted, reads, replies
from app.inference.conversations import Conversation

router = APIRouter(tags=["Ollama"])
_body = JsonBody(OllamaChatRequest, media=CURL)
NEEDS = "Needs a version that was trained on conversations, or OSTINATO_CHAT_FALLBACK=1"
_CHAT = {
    "model": "demo-text-lstm",
    "messages": [{"role": "user", "content": "Hello!"}],
    "options": {"num_predict": 9},
}


@router.post(
    "/api/chat",
    operation_id="ollama_chat",
    summary="Continue a conversation (Ollama)",
    description="Generates an answer in Ollama's format: as a stream of JSON lines or, with `stream: false`, in one "
    "reply.",
    response_model=None,
    openapi_extra=reads(
        OllamaChatRequest, whole=Noted({**_CHAT, "stream": False}, NEEDS), streamed=Noted(_CHAT, NEEDS)
    ),
    responses=replies(OllamaChatReply, ANSWER, stream=ANSWER_LINES, stream_media=NDJSON),
)
async def ollama_chat(request: Request) -> Response:
    began = time.perf_counter_ns()
    body = await _body.read(request)
    caller, services = caller_of(request, body.model), services_of(request)
    inference, make = services.inference, partial(_reply, body.model)
    if not body.messages:
        version = await inference.versions.get(caller.reference, caller.principal)
        await attended(request, inference.load(version))
        return loaded(body.stream is not False, make)
    messages = [{"role": message.role, "content": message.content} for message in body.messages]
    query = generation_query(caller, body, Conversation(messages, services.settings.chat_fallback), "messages")
    generation = await attended(request, inference.generate(query))
    return await answer(request, generation, body.stream is not False, began, make)


def _reply(model: str, text: str, **fields: object) -> OllamaChatReply:
    answer_ = OllamaAnswer(text)
    return OllamaChatReply(model=model, created_at=now(), message=answer_, **fields)  # type: ignore[arg-type]
