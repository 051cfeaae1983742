"""The `parameters` of a Hugging Face request, and the corresponding generation query."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from app.api.http.caller import Caller
from app.api.http.neutral_types import Disabled, NoText
from app.api.http.sampling_fields import (
    DEFAULTS,
    Alternatives,
    Penalty,
    Repetition,
    Share,
    StopTexts,
    Temperature,
    masked,
    value_or,
)
from app.inference.generation import Stops
from app.inference.items import Item
from app.inference.lengths import LengthPolicy
from app.inference.queries import GenerationQuery
from app.wire.engine import SamplingParams

NoOptions = Annotated[dict[str, Any], Meta(max_length=0)]
BestOf = Annotated[int, Meta(ge=1, le=64)]


class GenerationParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Generation parameters, as in TGI.

    The most likely token is always chosen, unless `do_sample` is true, `top_k` is set, or `temperature`, `top_p` or
    `typical_p` is set to a value other than 1. Without `max_new_tokens`, the text may fill the model's context. The
    text includes the stop string that ended it. `truncate` is the number of tokens to keep from the end of the input.
    `best_of` is the number of texts to generate, of which the most likely one is returned. `watermark`, `grammar` and
    `adapter_id` are not supported.
    """

    do_sample: bool | None = False
    max_new_tokens: Annotated[int, Meta(ge=1, le=2**16)] | None = None
    temperature: Temperature | None = None
    top_k: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    top_p: Share | None = None
    typical_p: Share | None = None
    repetition_penalty: Repetition | None = None
    frequency_penalty: Penalty | None = None
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] | None = None
    stop: StopTexts | None = None
    truncate: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    return_full_text: bool | None = False
    best_of: BestOf | None = None
    details: bool | None = False
    decoder_input_details: bool | None = False
    top_n_tokens: Alternatives | None = None
    watermark: Disabled | None = None
    grammar: NoOptions | None = None
    adapter_id: NoText | None = None

    def __post_init__(self) -> None:
        if self.watermark:
            raise ValueError("watermark is not supported; leave it out")
        if self.decoder_input_details and not self.details:
            raise ValueError("decoder_input_details requires details to be true")

    @property
    def samples(self) -> bool:
        """Whether tokens are sampled. Otherwise, the most likely token is always chosen."""
        warped = (value not in (None, 1) for value in (self.temperature, self.top_p, self.typical_p))
        return bool(self.do_sample) or self.top_k is not None or any(warped)


class HubParameters(GenerationParameters, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Parameters for generation or classification. For classification, `top_k` is the number of labels to return;
    `function_to_apply` replaces the function that converts logits to scores."""

    function_to_apply: Literal["sigmoid", "softmax", "none"] | None = None


PLAIN = GenerationParameters()


def generation_query(
    caller: Caller, items: list[Item], parameters: GenerationParameters, stream: bool
) -> GenerationQuery:
    """Return the generation query, which requests log-probabilities only if the reply or `best_of` needs them."""
    reported = stream or parameters.details or (parameters.best_of or 1) > 1
    return GenerationQuery(
        caller.reference,
        items,
        caller.principal,
        caller.seconds,
        LengthPolicy(truncate=parameters.truncate, side="left", remedy="truncate"),
        "inputs",
        params=SamplingParams(
            max_tokens=parameters.max_new_tokens or 1,
            temperature=value_or(parameters.temperature, DEFAULTS.temperature) if parameters.samples else 0.0,
            top_k=value_or(parameters.top_k, DEFAULTS.top_k),
            top_p=value_or(parameters.top_p, DEFAULTS.top_p),
            typical_p=value_or(parameters.typical_p, DEFAULTS.typical_p),
            repetition_penalty=value_or(parameters.repetition_penalty, DEFAULTS.repetition_penalty),
            frequency_penalty=value_or(parameters.frequency_penalty, DEFAULTS.frequency_penalty),
            logprobs=(parameters.top_n_tokens or 0) if reported else None,
            prompt_logprobs=0 if parameters.decoder_input_details else None,
        ),
        seed=masked(parameters.seed),
        n=parameters.best_of or 1,
        stops=Stops(tuple(parameters.stop or ()), include=True),
        open_ended=parameters.max_new_tokens is None,
        limit_param="max_new_tokens",
    )
