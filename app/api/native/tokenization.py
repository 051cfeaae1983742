"""`/tokenize` in the formats of vLLM and TEI, and `/detokenize` in vLLM's format."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Request
from msgspec import Meta
from starlette.responses import Response

from app.api.http.bodies import JsonBody
from app.api.http.caller import Caller
from app.api.http.presence import attended
from app.api.http.replies import JsonReply
from app.api.http.sampling_fields import TokenId
from app.api.http.services import services_of
from app.api.openapi.describe import list_schema, reads, replies, replies_json, schema_of
from app.errors import InvalidRequest
from app.inference.versions import ResolvedVersion
from app.tokenization.spans import character_spans
from app.tokenization.tokenizer import Tokenizer

router = APIRouter(tags=["tokenization"])
TEXTS_LIMIT = 2_048  # the maximum number of texts in a request


class TokenizeRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A request to split texts into tokens. It contains either vLLM's `prompt`, which is one text, or TEI's `inputs`.

    With `return_token_strs`, vLLM's reply also contains each token's text.
    """

    prompt: str | None = None
    inputs: str | Annotated[list[str], Meta(min_length=1, max_length=TEXTS_LIMIT)] | None = None
    model: str | None = None
    add_special_tokens: bool = True
    return_token_strs: bool | None = False


class TokenizeReply(msgspec.Struct, frozen=True):
    """A text's token ids. `max_model_len` is the version's context length."""

    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | None = None


class TextToken(msgspec.Struct, frozen=True):
    """A token in TEI's format. `start` and `stop` (exclusive) are the positions of its characters in the text.

    Both are null for a special token, and if the tokenizer changes the text, for example to lower case.
    """

    id: int
    text: str
    special: bool
    start: int | None
    stop: int | None


class DetokenizeRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A request to convert token ids to text."""

    tokens: list[TokenId]
    model: str | None = None


class DetokenizeReply(msgspec.Struct, frozen=True):
    """The text to which the token ids decode."""

    prompt: str


_text_body, _ids_body = JsonBody(TokenizeRequest), JsonBody(DetokenizeRequest)
_TOKENS: dict[str, Any] = {
    "vllm": {"count": 2, "max_model_len": 256, "tokens": [75, 108], "token_strs": None},
    "tei": [[{"id": 75, "text": "H", "special": False, "start": 0, "stop": 1}]],
}
_TOKENS_SCHEMA = {"anyOf": [schema_of(TokenizeReply), list_schema(list_schema(schema_of(TextToken)))]}


@router.post(
    "/tokenize",
    operation_id="tokenize",
    summary="Split a text into tokens",
    description="Returns the token ids that a version reads for a text, including its special tokens. A request with "
    "`prompt` gets vLLM's reply, and a request with `inputs` gets TEI's reply.",
    response_model=None,
    openapi_extra=reads(
        TokenizeRequest,
        text={"model": "demo-text-lstm", "prompt": "Hi"},
        texts={"model": "demo-text-lstm", "inputs": ["Hi", "Hello"]},
    ),
    responses=replies_json(_TOKENS_SCHEMA, _TOKENS, named=True),
)
async def tokenize(request: Request) -> Response:
    body = await _text_body.read(request)
    if (body.prompt is None) == (body.inputs is None):
        raise InvalidRequest("send either prompt (one text) or inputs (one or several texts)", param="prompt")
    texts = (
        [body.prompt or ""] if body.inputs is None else [body.inputs] if isinstance(body.inputs, str) else body.inputs
    )

    def work(version: ResolvedVersion) -> TokenizeReply | list[list[TextToken]]:
        tokenizer = _tokenizer(version)
        rows = tokenizer.encode_batch(texts, body.add_special_tokens)
        if body.inputs is not None:
            return [_tokens(tokenizer, ids, text) for ids, text in zip(rows, texts, strict=True)]
        [ids] = rows
        names = [tokenizer.token_name(id_) for id_ in ids] if body.return_token_strs else None
        return TokenizeReply(len(ids), version.config.context_length, ids, names)

    return await _answer(request, body.model, sum(map(len, texts)), work)


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


def _tokens(tokenizer: Tokenizer, ids: list[int], text: str) -> list[TextToken]:
    spans = character_spans(tokenizer, ids, text)
    return [
        TextToken(
            id_,
            tokenizer.token_text(id_) if span is None else text[slice(*span)],
            id_ in tokenizer.hidden_ids,
            *(span or (None, None)),
        )
        for id_, span in zip(ids, spans, strict=True)
    ]


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
