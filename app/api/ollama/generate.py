"""`POST /api/generate`: continues a text."""

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
from app.api.ollama.schemas import GENERATED, GENERATED_LINES, OllamaGenerateReply, OllamaGenerateRequest
from app.api.openapi.describe import reads, replies
from app.errors import InvalidRequest
from app.inference.conversations import Conversation
from app.inference.items import Item

router = APIRouter(tags=["Ollama"])
_body = JsonBody(OllamaGenerateRequest, media=CURL)
_PROMPT = {"model": "demo-text-lstm", "prompt": "Once upon", "options": {"num_predict": 32}}


@router.post(
    "/api/generate",
    operation_id="ollama_generate",
    summary="Continue a text (Ollama)",
    description="Generates text in Ollama's format: as a stream of JSON lines or, with `stream: false`, in one reply.",
    response_model=None,
    openapi_extra=reads(OllamaGenerateRequest, whole={**_PROMPT, "stream": False}, streamed=_PROMPT),
    responses=replies(OllamaGenerateReply, GENERATED, stream=GENERATED_LINES, stream_media=NDJSON),
)
async def ollama_generate(request: Request) -> Response:
    began = time.perf_counter_ns()
    body = await _body.read(request)
    caller, inference = caller_of(request, body.model), services_of(request).inference
    make = partial(_reply, body.model)
    version = await inference.versions.get(caller.reference, caller.principal)
    if not body.prompt:
        await attended(request, inference.load(version))
        return loaded(body.stream is not False, make)
    converses = "chat_template" in version.assets.raw_config and not body.raw
    query = generation_query(caller, body, _item(body, converses), "prompt")
    generation = await attended(request, inference.generate(query))
    return await answer(request, generation, body.stream is not False, began, make)


def _item(body: OllamaGenerateRequest, converses: bool) -> Item:
    """The prompt or, for a version trained on conversations, a conversation that ends with the prompt."""
    prompt = body.prompt or ""
    if converses:
        before = [{"role": "system", "content": body.system}] if body.system else []
        return Conversation([*before, {"role": "user", "content": prompt}])
    if body.system and not body.raw:
        raise InvalidRequest("system requires a version trained on conversations; leave system out", param="system")
    return prompt


def _reply(model: str, text: str, **fields: object) -> OllamaGenerateReply:
    return OllamaGenerateReply(model=model, created_at=now(), response=text, **fields)  # type: ignore[arg-type]
