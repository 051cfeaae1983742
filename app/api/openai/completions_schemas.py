"""The request and reply of `/v1/completions`: OpenAI's and vLLM's fields, with their bounds."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from app.api.http.sampling_fields import DEFAULTS, Alternatives
from app.api.openai.sampling import SamplingFields, Several


class CompletionRequest(SamplingFields, frozen=True, forbid_unknown_fields=True):
    """A request to continue one or more prompts.

    `prompt` is a string, token ids, or a list of either; `token_ids_of` names the version whose tokenizer produced the
    ids, and `model` must have the same tokenizer. With a `temperature` of 0, the most likely token is always chosen.
    `logprobs` is the number of most likely tokens to report at each position. `best_of` continuations of each prompt
    are generated, and the `n` most likely ones are returned. `truncate_prompt_tokens` is the number of tokens to keep
    from the end of a prompt; -1 keeps as many tokens as fit into the context together with `max_tokens` new tokens.
    """

    prompt: str | list[str | int | list[int]]
    model: str | None = None
    max_tokens: Annotated[int, Meta(ge=0, le=2**20)] | None = DEFAULTS.max_tokens
    best_of: Several | None = None
    logprobs: Alternatives | None = None
    prompt_logprobs: Alternatives | None = None
    echo: bool | None = False
    return_token_ids: bool = False
    add_special_tokens: bool = True
    skip_special_tokens: Literal[True] = True
    spaces_between_special_tokens: bool = True
    priority: Annotated[int, Meta(ge=0, le=0)] = 0
    token_ids_of: str | None = None
    request_id: str | None = None


class Logprobs(msgspec.Struct, frozen=True):
    """The log-probabilities of a choice's tokens. `text_offset` contains the character offset of each token."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class CompletionChoice(msgspec.Struct, frozen=True, omit_defaults=True):
    """One continuation or, in a stream, a piece of it. `stop_reason` is the stop string or stop token id that ended the
    continuation. Token ids are sent only if the request sets `return_token_ids`."""

    index: int
    text: str
    logprobs: Logprobs | None
    finish_reason: Literal["stop", "length"] | None
    stop_reason: str | int | None
    prompt_logprobs: list[dict[str, Any] | None] | None = None
    token_ids: list[int] | None = None
    prompt_token_ids: list[int] | None = None


class CompletionUsage(msgspec.Struct, frozen=True):
    """A request's token counts, summed over all of its prompts and continuations."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: dict[str, int]


class CompletionReply(msgspec.Struct, frozen=True):
    """The continuations of all prompts, or one chunk of a stream."""

    id: str
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: CompletionUsage | None = None
    object: str = "text_completion"
    system_fingerprint: str | None = None


EXAMPLE: dict[str, Any] = {
    "id": "cmpl-5d1c",
    "created": 1745383065,
    "model": "demo-text-lstm",
    "choices": [
        {"index": 0, "text": " a time there was", "logprobs": None, "finish_reason": "length", "stop_reason": None}
    ],
    "usage": {
        "prompt_tokens": 3,
        "completion_tokens": 16,
        "total_tokens": 19,
        "prompt_tokens_details": {"cached_tokens": 0},
    },
    "object": "text_completion",
    "system_fingerprint": None,
}
STREAM_EXAMPLE = (
    'data: {"id":"cmpl-5d1c","object":"text_completion","created":1745383065,"model":"demo-text-lstm",'
    '"system_fingerprint":null,"choices":[{"index":0,"text":" a","logprobs":null,"finish_reason":null,'
    '"stop_reason":null}],"usage":null}\n\ndata: [DONE]\n\n'
)
