"""Requests and replies of the Ollama routes that run a model."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from app.api.http.neutral_types import Disabled, NoText
from app.api.ollama.options import OllamaOptions

KeepAlive = float | str
NoItems = Annotated[list[Any], Meta(max_length=0)]
MOST = 2048  # the maximum number of messages, which is limited because they are parsed on the event loop


class OllamaRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The fields shared by generation and chat requests. The reply is a stream unless `stream` is false.

    `model` is a model reference; the tag `:latest` has no effect. `keep_alive` and `shift` have no effect. `format`,
    `think`, `logprobs` and `top_logprobs` request unsupported features, so only neutral values are accepted.
    """

    model: str
    stream: bool | None = True
    options: OllamaOptions | None = None
    keep_alive: KeepAlive | None = None
    format: NoText | None = None
    think: Disabled | None = None
    logprobs: Disabled | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=0)] | None = None
    truncate: bool | None = None
    shift: bool | None = None

    def __post_init__(self) -> None:
        for name in ("think", "logprobs"):
            if getattr(self, name):
                raise ValueError(f"{name} is not supported; leave it out")


class OllamaGenerateRequest(OllamaRequest, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A request to continue `prompt`. Without a prompt, the request only loads the version.

    Unless `raw` is true, a version that was trained on conversations replies to the prompt as a user message, after the
    `system` message if there is one. If `truncate` is true, the beginning of a prompt that is too long is cut
    off.
    """

    prompt: str | None = None
    system: str | None = None
    raw: bool | None = False
    suffix: NoText | None = None
    template: NoText | None = None
    context: NoItems | None = None
    images: NoItems | None = None
    width: Annotated[int, Meta(ge=0, le=0)] | None = None
    height: Annotated[int, Meta(ge=0, le=0)] | None = None
    steps: Annotated[int, Meta(ge=0, le=0)] | None = None


class OllamaMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A message in a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str = ""
    thinking: NoText | None = None
    images: NoItems | None = None
    tool_calls: NoItems | None = None
    tool_name: NoText | None = None


class OllamaChatRequest(OllamaRequest, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A request for the next answer in a conversation. Without messages, the request only loads the version."""

    messages: Annotated[list[OllamaMessage], Meta(max_length=MOST)] | None = None
    tools: NoItems | None = None


class Counts(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The fields at the end of a reply: why it ended, the number of tokens, and durations in nanoseconds."""

    done_reason: str | None = None
    total_duration: int | None = None
    load_duration: int | None = None
    prompt_eval_count: int | None = None
    prompt_eval_duration: int | None = None
    eval_count: int | None = None
    eval_duration: int | None = None


class OllamaGenerateReply(Counts, frozen=True, omit_defaults=True, kw_only=True):
    """A continuation, or one piece of a streamed continuation. The last line of a stream contains the counts."""

    model: str
    created_at: str
    response: str
    done: bool


class OllamaAnswer(msgspec.Struct, frozen=True):
    """An answer, or one piece of a streamed answer."""

    content: str
    role: str = "assistant"


class OllamaChatReply(Counts, frozen=True, omit_defaults=True, kw_only=True):
    """An answer, or one piece of a streamed answer. The last line of a stream contains the counts."""

    model: str
    created_at: str
    message: OllamaAnswer
    done: bool


_COUNTS: dict[str, Any] = {
    "done": True,
    "done_reason": "length",
    "total_duration": 5023000,
    "load_duration": 0,
    "prompt_eval_count": 9,
    "prompt_eval_duration": 310000,
    "eval_count": 8,
    "eval_duration": 4100000,
}
_HEAD = {"model": "demo-text-lstm", "created_at": "2026-01-31T12:00:00.000000Z"}
GENERATED: dict[str, Any] = {**_HEAD, "response": " a time,", **_COUNTS}
GENERATED_LINES = (
    '{"model":"demo-text-lstm","created_at":"2026-01-31T12:00:00.000000Z","response":" a","done":false}\n'
    '{"model":"demo-text-lstm","created_at":"2026-01-31T12:00:00.000000Z","response":"","done":true,'
    '"done_reason":"length"}\n'
)
ANSWER: dict[str, Any] = {**_HEAD, "message": {"role": "assistant", "content": "Hello!"}, **_COUNTS}
ANSWER_LINES = (
    '{"model":"my-assistant","created_at":"2026-01-31T12:00:00.000000Z",'
    '"message":{"content":"Hello","role":"assistant"},"done":false}\n'
    '{"model":"my-assistant","created_at":"2026-01-31T12:00:00.000000Z",'
    '"message":{"content":"","role":"assistant"},"done":true,"done_reason":"stop"}\n'
)
