"""The request, reply and events of `/v1/responses`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from app.api.http.sampling_fields import DEFAULTS, Alternatives, NewTokens, Share, Temperature
from app.api.openai.chat_schemas import ChatToken
from app.api.openai.messages import MOST, Content, Role
from app.api.openai.sampling import CacheSalt, TextFormat

LOGPROBS = "message.output_text.logprobs"
Included = Literal[  # except for the log-probabilities, these values request details of outputs that are never created
    "code_interpreter_call.outputs",
    "computer_call_output.output.image_url",
    "file_search_call.results",
    "message.input_image.image_url",
    "message.output_text.logprobs",
    "reasoning.encrypted_content",
    "web_search_call.action.sources",
    "web_search_call.results",
]
Status = Literal["in_progress", "completed", "incomplete", "failed"]
EventType = Literal[
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.completed",
    "response.incomplete",
    "response.failed",
]


class InputItem(msgspec.Struct, frozen=True):
    """A message. `content` is a string, or a list of parts of type `input_text` or `output_text`.

    A message from a reply can be sent back unchanged.
    """

    role: Role | None = None
    content: Content | None = None
    type: Annotated[str, Meta(extra_json_schema={"enum": ["message"]})] = "message"


class TextOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The format of the answer. `verbosity` has no effect."""

    format: TextFormat | None = None
    verbosity: str | None = None


class ResponseStreamOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Streaming options. `include_obfuscation` has no effect."""

    include_obfuscation: bool | None = None


class ResponseRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A request for the next answer in a conversation. `input` contains the whole conversation.

    If `input` is a text, it is read as a single user message. `instructions` becomes the first message, with the role
    `system`. Without `max_output_tokens`, the answer may fill the model's context. If `truncation` is `auto`, the
    beginning of a conversation that is too long is left out; otherwise, the request is rejected. The reply contains
    log-probabilities if `include` contains `message.output_text.logprobs`.
    """

    input: str | Annotated[list[InputItem], Meta(min_length=1, max_length=MOST)]
    model: str | None = None
    instructions: str | None = None
    max_output_tokens: NewTokens | None = None
    temperature: Temperature | None = DEFAULTS.temperature
    top_p: Share | None = DEFAULTS.top_p
    top_logprobs: Alternatives | None = None
    include: list[Included] | None = None
    metadata: dict[str, str] | None = None
    stream: bool | None = False
    stream_options: ResponseStreamOptions | None = None
    text: TextOptions | None = None
    cache_salt: CacheSalt | None = None
    truncation: Literal["auto", "disabled"] | None = None


class ResponseText(msgspec.Struct, frozen=True):
    """An answer's text. `logprobs` is empty unless log-probabilities were requested."""

    text: str = ""
    type: Literal["output_text"] = "output_text"
    annotations: list[Any] = []
    logprobs: list[ChatToken] = []


class ResponseMessage(msgspec.Struct, frozen=True):
    """The answer as a message."""

    id: str
    status: Literal["in_progress", "completed", "incomplete"]
    content: list[ResponseText]
    type: Literal["message"] = "message"
    role: Literal["assistant"] = "assistant"


class ResponseUsage(msgspec.Struct, frozen=True):
    """A response's token counts."""

    input_tokens: int
    output_tokens: int
    total_tokens: int
    input_tokens_details: dict[str, int]
    output_tokens_details: dict[str, int]


class ResponseError(msgspec.Struct, frozen=True):
    """The error that ended a stream. `code` is one of OpenAI's codes, and `type` is this service's own code."""

    code: Literal["server_error", "rate_limit_exceeded", "invalid_prompt"]
    message: str
    type: str
    param: str | None = None


class ResponseObject(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a conversation. Responses are not stored, so `store` is always false.

    The fields after `usage` have the values from the request, or their defaults.
    """

    id: str
    object: Literal["response"] = "response"
    created_at: int
    status: Status
    error: ResponseError | None = None
    incomplete_details: dict[str, str] | None = None
    model: str
    output: list[ResponseMessage]
    usage: ResponseUsage | None = None
    background: bool = False
    instructions: str | None = None
    max_output_tokens: int | None = None
    metadata: dict[str, str] = {}
    parallel_tool_calls: bool = True
    previous_response_id: None = None
    reasoning: dict[str, None]
    service_tier: str = "default"
    store: bool = False
    temperature: float
    text: dict[str, dict[str, str]]
    tool_choice: str = "auto"
    tools: list[Any] = []
    top_logprobs: int = 0
    top_p: float
    truncation: Literal["auto", "disabled"] = "disabled"


class ResponseEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """One event in a stream. Events of type `response.output_text.delta` contain the text."""

    type: EventType
    sequence_number: int
    response: ResponseObject | None = None
    item_id: str | None = None
    output_index: int | None = None
    content_index: int | None = None
    item: ResponseMessage | None = None
    part: ResponseText | None = None
    delta: str | None = None
    text: str | None = None
    logprobs: list[ChatToken] | None = None


EXAMPLE: dict[str, Any] = {
    "id": "resp_5d1c",
    "object": "response",
    "created_at": 1745383065,
    "status": "completed",
    "error": None,
    "incomplete_details": None,
    "model": "my-assistant",
    "output": [
        {
            "id": "msg_5d1c",
            "status": "completed",
            "content": [{"text": "Hello! How are you?", "type": "output_text", "annotations": [], "logprobs": []}],
            "type": "message",
            "role": "assistant",
        }
    ],
    "usage": {
        "input_tokens": 9,
        "output_tokens": 7,
        "total_tokens": 16,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    },
    "background": False,
    "instructions": "Be brief.",
    "max_output_tokens": 32,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "service_tier": "default",
    "store": False,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
}
STREAM_EXAMPLE = (
    'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","item_id":"msg_5d1c",'
    '"output_index":0,"content_index":0,"delta":"Hello","logprobs":[],"sequence_number":4}\n\n'
)
