"""Replies with generated text, for TGI's routes and the inference API."""

from __future__ import annotations

from fastapi import Request
from starlette.responses import Response

from app.api.http.caller import Caller
from app.api.http.pieces import collected, streamed
from app.api.http.presence import attended
from app.api.http.replies import JsonReply, answer_headers
from app.api.http.services import services_of
from app.api.http.sse import frame
from app.api.huggingface.details import TokenEvents, whole_reply
from app.api.huggingface.errors import stream_error
from app.api.huggingface.parameters import GenerationParameters, generation_query
from app.errors import InvalidRequest, OstinatoError


async def generated(
    request: Request, caller: Caller, text: str, parameters: GenerationParameters, stream: bool, *, listed: bool
) -> Response:
    """Generate a text. If `listed` is true, a reply that is not streamed is a list with one item."""
    if stream and (parameters.best_of or 1) > 1:
        raise InvalidRequest("best_of above 1 cannot be streamed", param="best_of")
    inference = services_of(request).inference
    items = await inference.items([text], "inputs", blank=True)
    generation = await attended(request, inference.generate(generation_query(caller, items, parameters, stream)))
    if stream:
        return await streamed(request, generation, TokenEvents(generation, parameters), _failed, b"")
    reply = whole_reply(await collected(request, generation), generation, parameters)
    headers = answer_headers(
        generation.version.ref, generation.prompt_tokens, generation.timing, generation.generated_tokens
    )
    return JsonReply([reply] if listed else reply, headers)


def _failed(error: OstinatoError) -> bytes:
    return frame(stream_error(error))
