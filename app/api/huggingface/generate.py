"""TGI's `/generate` and `/generate_stream`."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from app.api.http.bodies import JsonBody
from app.api.http.caller import Caller
from app.api.huggingface.details import GenerationReply, StreamEvent
from app.api.huggingface.parameters import PLAIN, GenerationParameters
from app.api.huggingface.queries import ModelQuery
from app.api.huggingface.texts import generated
from app.api.openapi.describe import Noted, reads, replies

router = APIRouter(tags=["Hugging Face"])
NEEDS = "Requires a default model that generates text, or the name of such a model as ?model="


class TgiRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A request to continue a text. The model is given by `?model=`, the header `X-Model`, or `OSTINATO_DEFAULT_MODEL`.
    `stream` has no effect, because `/generate_stream` is a separate route."""

    inputs: str
    parameters: GenerationParameters | None = None
    stream: bool | None = None


_body = JsonBody(TgiRequest)
_REQUEST = {"inputs": "Once upon", "parameters": {"max_new_tokens": 8, "details": True}}
WHOLE: dict[str, Any] = {
    "generated_text": " a time,",
    "details": {
        "finish_reason": "length",
        "generated_tokens": 8,
        "seed": 42,
        "prefill": [],
        "tokens": [{"id": 35, "text": " ", "logprob": -0.2, "special": False}],
    },
}
EVENTS = (
    'data: {"index":1,"token":{"id":35,"text":" ","logprob":-0.2,"special":false},"generated_text":null,'
    '"details":null}\n\n'
)


@router.post(
    "/generate",
    operation_id="tgi_generate",
    summary="Continue a text (TGI)",
    description="Generates text with any version trained for generation, and returns it in one reply.",
    response_model=None,
    openapi_extra=reads(TgiRequest, text=Noted(_REQUEST, NEEDS)),
    responses=replies(GenerationReply, WHOLE),
)
async def tgi_generate(request: Request, model: ModelQuery = None) -> Response:
    return await _answer(request, stream=False)


@router.post(
    "/generate_stream",
    operation_id="tgi_generate_stream",
    summary="Continue a text as a stream (TGI)",
    description="Streams generated text as server-sent events, one event per token. Requires a version trained for "
    "generation.",
    response_model=None,
    response_class=Response,  # without the JSON reply that FastAPI adds to the document
    openapi_extra=reads(TgiRequest, text=Noted(_REQUEST, NEEDS)),
    responses=replies(StreamEvent, None, stream=EVENTS, done=False),
)
async def tgi_generate_stream(request: Request, model: ModelQuery = None) -> Response:
    return await _answer(request, stream=True)


async def _answer(request: Request, *, stream: bool) -> Response:
    body = await _body.read(request)
    caller = Caller.read(request, None)
    return await generated(request, caller, body.inputs, body.parameters or PLAIN, stream, listed=False)
