"""The request and reply of `/v1/chat/completions`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from app.api.http.release import release
from app.api.http.sampling_fields import Alternatives, NewTokens
from app.api.openai.completions_schemas import CompletionUsage
from app.api.openai.messages import MOST, Content, Role
from app.api.openai.sampling import SamplingFields

FINGERPRINT = f"ostinato-{release()}"  # a string, because TGI's client does not accept null
NoCalls = Annotated[list[Any], Meta(extra_json_schema={"maxItems": 0})]
NoId = Annotated[str, Meta(extra_json_schema={"maxLength": 0})]


class ChatMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A message in a conversation. `content` is a string, or a list of text parts.

    A message from a reply can be sent back unchanged. `name` and `annotations` have no effect.
    """

    role: Role
    content: Content | None = None
    name: str | None = None
    refusal: str | None = None
    annotations: list[Any] | None = None
    # The following fields are not supported. They are declared so that a client that sends them gets a clear error.
    tool_calls: NoCalls | None = None
    tool_call_id: NoId | None = None
    function_call: None = None
    audio: None = None


class ChatRequest(SamplingFields, frozen=True, forbid_unknown_fields=True):
    """A request for the next answer in a conversation.

    `max_completion_tokens` (formerly `max_tokens`) limits the length of the answer. Without a limit, the answer may
    fill the model's context. With `logprobs`, the reply contains the log-probabilities of each token and of the
    `top_logprobs` most likely tokens at its position. `truncate_prompt_tokens` is the number of tokens to keep from the
    end of the conversation; -1 keeps as many tokens as fit into the context together with the answer.
    """

    messages: Annotated[list[ChatMessage], Meta(min_length=1, max_length=MOST)]
    model: str | None = None
    max_completion_tokens: NewTokens | None = None
    max_tokens: NewTokens | None = None
    logprobs: bool | None = False
    top_logprobs: Alternatives | None = None


class ChatAlternative(msgspec.Struct, frozen=True):
    """One of the most likely tokens at a position. `bytes` are the UTF-8 bytes of the token's text."""

    token: str
    bytes: list[int] | None
    logprob: float


class ChatToken(msgspec.Struct, frozen=True):
    """The log-probabilities of a token in an answer, and of the most likely tokens at its position."""

    token: str
    bytes: list[int] | None
    logprob: float
    top_logprobs: list[ChatAlternative]


class ChatLogprobs(msgspec.Struct, frozen=True):
    """The log-probabilities of the tokens in an answer or, in a stream, in a piece of it."""

    content: list[ChatToken]
    refusal: None = None


class ChatAnswer(msgspec.Struct, frozen=True):
    """The answer as a message."""

    content: str
    role: Literal["assistant"] = "assistant"
    refusal: None = None


class ChatChoice(msgspec.Struct, frozen=True):
    """One answer. `stop_reason` is the stop string or stop token id that ended the answer."""

    index: int
    message: ChatAnswer
    logprobs: ChatLogprobs | None
    finish_reason: Literal["stop", "length"]
    stop_reason: str | int | None


class ChatReply(msgspec.Struct, frozen=True):
    """The answers to a conversation."""

    id: str
    created: int
    model: str
    choices: list[ChatChoice]
    usage: CompletionUsage
    object: Literal["chat.completion"] = "chat.completion"
    system_fingerprint: str = FINGERPRINT


class ChatDelta(msgspec.Struct, frozen=True, omit_defaults=True):
    """New text of an answer. An answer's first delta contains the `role`, and its last delta is empty."""

    role: Literal["assistant"] | None = None
    content: str | None = None


class ChatDeltaChoice(msgspec.Struct, frozen=True, omit_defaults=True):
    """A piece of one answer."""

    index: int
    delta: ChatDelta
    logprobs: ChatLogprobs | None
    finish_reason: Literal["stop", "length"] | None
    stop_reason: str | int | None = None


class ChatChunk(msgspec.Struct, frozen=True):
    """One chunk of a stream. If token counts were requested, the last chunk contains them and no choices."""

    id: str
    created: int
    model: str
    choices: list[ChatDeltaChoice]
    usage: CompletionUsage | None = None
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    system_fingerprint: str = FINGERPRINT


EXAMPLE: dict[str, Any] = {
    "id": "chatcmpl-5d1c",
    "created": 1745383065,
    "model": "my-assistant",
    "choices": [
        {
            "index": 0,
            "message": {"content": "Hello! How are you?", "role": "assistant", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
            "stop_reason": None,
        }
    ],
    "usage": {
        "prompt_tokens": 9,
        "completion_tokens": 7,
        "total_tokens": 16,
        "prompt_tokens_details": {"cached_tokens": 0},
    },
    "object": "chat.completion",
    "system_fingerprint": FINGERPRINT,
}
STREAM_EXAMPLE = (
    'data: {"id":"chatcmpl-5d1c","object":"chat.completion.chunk","created":1745383065,"model":"my-assistant",'
    f'"system_fingerprint":"{FINGERPRINT}",'
    '"choices":[{"index":0,"delta":{"content":"Hello"},"logprobs":null,'
    '"finish_reason":null}],"usage":null}\n\ndata: [DONE]\n\n'
)
