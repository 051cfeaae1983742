"""Request fields shared by OpenAI's generation routes: sampling, stop conditions and streaming."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from app.api.http.fields import Truncation
from app.api.http.sampling_fields import (
    DEFAULTS,
    Least,
    Penalty,
    Repetition,
    Seed,
    Share,
    StopText,
    StopTexts,
    Temperature,
    TokenId,
    masked,
    value_or,
)
from app.errors import InvalidRequest
from app.inference.generation import Stops
from app.wire.engine import SamplingParams

Bias = Annotated[float, Meta(ge=-100, le=100)]
# The keys are token ids up to 2**31 - 1 = 2147483647. JSON Schema can limit keys only with a pattern.
_LARGEST_IDS = (
    "20[0-9]{8}|21[0-3][0-9]{7}|214[0-6][0-9]{6}|2147[0-3][0-9]{5}|21474[0-7][0-9]{4}|214748[0-2][0-9]{3}|"
    "2147483[0-5][0-9]{2}|21474836[0-3][0-9]|214748364[0-7]"
)
ID_KEYS = {"propertyNames": {"pattern": f"^(0|[1-9][0-9]{{0,8}}|1[0-9]{{9}}|{_LARGEST_IDS})$"}}
TEXT_FORMAT = {  # the only supported format
    "properties": {"type": {"type": "string", "enum": ["text"]}},
    "required": ["type"],
    "additionalProperties": False,
}
TextFormat = Annotated[dict[str, Any], Meta(extra_json_schema=TEXT_FORMAT)]
Empty = Annotated[list[Any], Meta(max_length=0)]  # llama.cpp's default for `logit_bias`
CacheSalt = Annotated[str, Meta(max_length=1024)]
Several = Annotated[int, Meta(ge=1, le=64)]


class StreamOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Streaming options. With `include_usage`, token counts are sent at the end of the stream.

    If `continuous_usage_stats` is also set, every chunk contains token counts. `include_obfuscation` has no effect.
    """

    include_usage: bool = False
    include_obfuscation: bool = False  # sent by OpenAI's client
    continuous_usage_stats: bool = False


class SamplingFields(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The fields shared by completions and chat completions.

    With a `temperature` of 0, the most likely token is always chosen. If a prompt begins like an earlier prompt with
    the same API key and `cache_salt`, only the rest of the prompt is read.
    """

    min_tokens: Annotated[int, Meta(ge=0, le=2**20)] = DEFAULTS.min_tokens
    temperature: Temperature | None = DEFAULTS.temperature
    top_p: Share | None = DEFAULTS.top_p
    top_k: Annotated[int, Meta(ge=-1, le=2**31 - 1)] | None = DEFAULTS.top_k
    min_p: Least | None = DEFAULTS.min_p
    typical_p: Share | None = DEFAULTS.typical_p
    n: Several | None = 1
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    stop: StopText | StopTexts | None = None
    stop_token_ids: Annotated[list[TokenId], Meta(max_length=64)] | None = None
    include_stop_str_in_output: bool = False
    ignore_eos: bool = False
    presence_penalty: Penalty | None = DEFAULTS.presence_penalty
    frequency_penalty: Penalty | None = DEFAULTS.frequency_penalty
    repetition_penalty: Repetition | None = DEFAULTS.repetition_penalty
    logit_bias: Annotated[dict[TokenId, Bias], Meta(max_length=1024, extra_json_schema=ID_KEYS)] | Empty | None = None
    seed: Seed | None = None
    truncate_prompt_tokens: Truncation | None = None
    user: str | None = None
    cache_salt: CacheSalt | None = None
    response_format: TextFormat | None = None


def check_sampling(body: SamplingFields, max_tokens: int | None) -> None:
    """Check the rules that involve several fields, because the struct cannot express them. Raises InvalidRequest."""
    if body.stream_options is not None and not body.stream:
        raise InvalidRequest("stream_options requires stream to be true", param="stream_options")
    if max_tokens is not None and body.min_tokens > max_tokens:
        raise InvalidRequest("min_tokens must not be greater than max_tokens", param="min_tokens")
    if body.response_format is not None and body.response_format != {"type": "text"}:
        raise InvalidRequest(
            "response_format must be {'type': 'text'}; no other format is supported", param="response_format"
        )


def sampling_params(
    body: SamplingFields, max_tokens: int, logprobs: int | None, prompt_logprobs: int | None = None
) -> SamplingParams:
    """The engine's sampling parameters.

    `logprobs` and `prompt_logprobs` are the numbers of most likely tokens to report at each position of the generated
    text and of the prompt. None disables the report.
    """
    return SamplingParams(
        max_tokens=max_tokens,
        min_tokens=body.min_tokens,
        temperature=value_or(body.temperature, DEFAULTS.temperature),
        top_k=max(0, value_or(body.top_k, DEFAULTS.top_k)),  # vLLM's -1 means all tokens, like 0
        top_p=value_or(body.top_p, DEFAULTS.top_p),
        min_p=value_or(body.min_p, DEFAULTS.min_p),
        typical_p=value_or(body.typical_p, DEFAULTS.typical_p),
        repetition_penalty=value_or(body.repetition_penalty, DEFAULTS.repetition_penalty),
        presence_penalty=value_or(body.presence_penalty, DEFAULTS.presence_penalty),
        frequency_penalty=value_or(body.frequency_penalty, DEFAULTS.frequency_penalty),
        logit_bias=dict(body.logit_bias or {}),
        stop_token_ids=tuple(body.stop_token_ids or ()),
        ignore_eos=body.ignore_eos,
        logprobs=logprobs,
        prompt_logprobs=prompt_logprobs,
    )


def stops_of(body: SamplingFields) -> Stops:
    stop = (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())
    return Stops(stop, body.include_stop_str_in_output)


def seed_of(body: SamplingFields) -> int | None:
    return masked(body.seed)
