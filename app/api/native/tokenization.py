"""`/tokenize` and `/detokenize`, in vLLM's format."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from app.api.http.bodies import JsonBody
from app.api.http.caller import Caller
from app.api.http.presence import attended
from app.api.http.replies import JsonReply
from app.api.http.sampling_fields import TokenId
from app.api.http.services import services_of
from app.api.openapi.describe import reads, replies
from app.errors import InvalidRequest
from app.inference.versions import ResolvedVersion
from app.tokenization.tokenizer import Tokenizer

router = APIRouter(tags=["tokenization"])


class TokenizeRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A request to split a text into tokens. With `return_token_strs`, the reply also contains each token's text."""

    prompt: str
    model: str | None = None
    add_special_tokens: bool = True
    return_token_strs: bool | None = False


class TokenizeReply(msgspec.Struct, frozen=True):
    """A text's token ids. `max_model_len` is the version's context length."""

    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | None = None


class DetokenizeRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A request to convert token ids to text."""

    tokens: list[TokenId]
    model: str | None = None


class DetokenizeReply(msgspec.Struct, frozen=True):
    """The text to which the token ids decode."""

    prompt: str


_text_body, _ids_body = JsonBody(TokenizeRequest), JsonBody(DetokenizeRequest)
_TOKENS: dict[str, Any] = {"count": 2, "max_model_len": 256, "tokens": [75, 108], "token_strs": None}


@router.post(
    "/tokenize",
    operation_id="tokenize",
    summary="Split a text into tokens",
    description="Returns the token ids that a version reads for a text, including its special tokens.",
    response_model=None,
    openapi_extra=reads(TokenizeRequest, text={"model": "demo-text-lstm", "prompt": "Hi"}),
    responses=replies(TokenizeReply, _TOKENS),
)
async def tokenize(request: Request) -> Response:
    body = await _read_text(request)

    def work(version: ResolvedVersion) -> TokenizeReply:
        tokenizer = _tokenizer(version)
        [ids] = tokenizer.encode_batch([body.prompt], body.add_special_tokens)
        names = [tokenizer.token_name(id_) for id_ in ids] if body.return_token_strs else None
        return TokenizeReply(len(ids), version.config.context_length, ids, names)

    return await _answer(request, body.model, len(body.prompt), work)


@router.post(
    "/detokenize",
    operation_id="detokenize",
    summary="Join tokens into a text",
    description="Returns the text that the token ids of a version represent.",
    response_model=None,
    openapi_extra=reads(DetokenizeRequest, ids={"model": "demo-text-lstm", "tokens": [75, 108]}),
    responses=replies(DetokenizeReply, {"prompt": "Hi"}),
)
async def detokenize(request: Request) -> Response:
    body = await _ids_body.read(request)

    def work(version: ResolvedVersion) -> DetokenizeReply:
        tokenizer, size = _tokenizer(version), version.config.vocab_size
        if body.tokens and max(body.tokens) >= size:
            raise InvalidRequest(
                f"tokens contains token id {max(body.tokens)}; the token ids of {version.ref} are 0 to {size - 1}",
                param="tokens",
            )
        return DetokenizeReply(tokenizer.decode(body.tokens))

    return await _answer(request, body.model, len(body.tokens), work)


async def _read_text(request: Request) -> TokenizeRequest:
    """Read a body. Raises InvalidRequest, with a hint if the body has the format of TEI or TGI."""
    try:
        return await _text_body.read(request)
    except InvalidRequest as error:
        if error.param != "inputs":
            raise
        message = "unknown field 'inputs'; send one text as prompt, and read the token ids in the reply's tokens"
        raise InvalidRequest(message, code=error.code, param=error.param) from None


async def _answer(request: Request, model: str | None, size: int, work: Any) -> Response:
    caller = Caller.read(request, model)
    inference = services_of(request).inference
    reading = inference.read(caller.reference, caller.principal, caller.seconds, size, work)
    version, reply = await attended(request, reading)
    return JsonReply(reply, {"x-model-version": version.ref})


def _tokenizer(version: ResolvedVersion) -> Tokenizer:
    if version.tokenizer is None:
        raise InvalidRequest(f"{version.ref} reads numbers, and has no tokenizer", code="wrong_task", param="model")
    return version.tokenizer
