"""Triton's `generate` and `generate_stream`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from msgspec import UNSET, UnsetType
from starlette.responses import Response

from app.api.http.bodies import JsonBody
from app.api.http.caller import Caller
from app.api.http.pieces import collected, streamed
from app.api.http.presence import attended
from app.api.http.replies import JsonReply, answer_headers
from app.api.http.sampling_fields import masked, value_or
from app.api.http.services import services_of
from app.api.http.sse import frame
from app.api.openapi.describe import Noted, reads, replies
from app.api.openinference.references import reference_of, unversioned
from app.api.openinference.sampling import TritonSampling, params_of, stops_of
from app.errors import OstinatoError
from app.inference.generation import GenerationRequest, Piece
from app.inference.queries import GenerationQuery

router = APIRouter(prefix="/v2/models/{name}", tags=["Open Inference Protocol"])
NEEDS = "Needs a model that generates text, such as demo-text-lstm"


class TritonGenerateRequest(TritonSampling, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A request to continue `text_input`. Parameters may be sent next to `text_input` or in `parameters`; those in
    `parameters` take precedence. `stream` has no effect, because each kind of reply has its own route."""

    text_input: str
    id: str | None = None
    parameters: TritonSampling | None = None
    exclude_input_in_output: bool | None = True


class TritonGenerateReply(msgspec.Struct, frozen=True):
    """A continuation or, in a stream, a piece of it."""

    model_name: str
    model_version: str
    text_output: str
    id: str | UnsetType = UNSET


_body = JsonBody(TritonGenerateRequest)
_REQUEST = Noted({"text_input": "Once upon", "parameters": {"max_tokens": 8}}, NEEDS)
_REPLY = {"model_name": "demo-text-lstm", "model_version": "1", "text_output": " a time,"}
_EVENTS = 'data: {"model_name":"demo-text-lstm","model_version":"1","text_output":" a"}\n\n'
_WHOLE: dict[str, Any] = {
    "description": "Returns the continuation of a text in one reply.",
    "response_model": None,
    "openapi_extra": reads(TritonGenerateRequest, text=_REQUEST),
    "responses": replies(TritonGenerateReply, _REPLY),
}
_STREAM: dict[str, Any] = _WHOLE | {
    "description": "Returns the continuation of a text as server-sent events.",
    "response_class": Response,  # without the JSON reply that FastAPI adds to the document
    "responses": replies(TritonGenerateReply, None, stream=_EVENTS, done=False),
}


@router.post(
    "/versions/{version}/generate",
    operation_id="triton_generate_with_version",
    summary="Continue a text with one version (Triton)",
    **_WHOLE,
)
async def triton_generate(request: Request, name: str, version: str) -> Response:
    body, generation = await _started(request, name, version)
    text = "".join([piece.text for piece in await collected(request, generation)])
    headers = answer_headers(
        generation.version.ref, generation.prompt_tokens, generation.timing, generation.generated_tokens
    )
    return JsonReply(_reply(body, generation, _lead(body) + text), headers)


router.post("/generate", operation_id="triton_generate", summary="Continue a text (Triton)", **_WHOLE)(
    unversioned(triton_generate)
)


@router.post(
    "/versions/{version}/generate_stream",
    operation_id="triton_generate_stream_with_version",
    summary="Continue a text as a stream with one version (Triton)",
    **_STREAM,
)
async def triton_generate_stream(request: Request, name: str, version: str) -> Response:
    body, generation = await _started(request, name, version)
    return await streamed(request, generation, PieceReplies(body, generation), _failed, b"")


router.post(
    "/generate_stream", operation_id="triton_generate_stream", summary="Continue a text as a stream (Triton)", **_STREAM
)(unversioned(triton_generate_stream))


class PieceReplies:
    """Creates the events of a stream."""

    def __init__(self, body: TritonGenerateRequest, generation: GenerationRequest) -> None:
        self._body, self._generation = body, generation

    def opening(self) -> Iterator[bytes]:
        """Yield an event with the input, if the request asks for the input in the output."""
        if lead := _lead(self._body):
            yield frame(_reply(self._body, self._generation, lead))

    def frame(self, piece: Piece) -> bytes | None:
        """Return the event for a piece. The last piece always has an event."""
        if not piece.text and piece.finish_reason is None:
            return None
        return frame(_reply(self._body, self._generation, piece.text))

    def closing(self) -> Iterator[bytes]:
        """Return no events, because the last piece ends the stream."""
        return iter(())


async def _started(request: Request, name: str, version: str) -> tuple[TritonGenerateRequest, GenerationRequest]:
    body = await _body.read(request)
    caller, inference = Caller.read(request, reference_of(name, version)), services_of(request).inference
    items = await inference.items([body.text_input], "text_input", blank=True)
    sampling = _merged(body)
    query = GenerationQuery(
        caller.reference,
        items,
        caller.principal,
        caller.seconds,
        param="text_input",
        params=params_of(sampling),
        seed=masked(sampling.seed),
        stops=stops_of(sampling),
    )
    return body, await attended(request, inference.generate(query))


def _merged(body: TritonGenerateRequest) -> TritonSampling:
    """Return the parameters. Those in `parameters` take precedence over those next to `text_input`."""
    inner = body.parameters or TritonSampling()
    fields = TritonSampling.__struct_fields__
    return TritonSampling(**{name: value_or(getattr(inner, name), getattr(body, name)) for name in fields})


def _lead(body: TritonGenerateRequest) -> str:
    return body.text_input if body.exclude_input_in_output is False else ""


def _reply(body: TritonGenerateRequest, generation: GenerationRequest, text: str) -> TritonGenerateReply:
    record = generation.version.record
    return TritonGenerateReply(record.model, str(record.version), text, body.id if body.id else UNSET)


def _failed(error: OstinatoError) -> bytes:
    return frame({"error": error.message})
