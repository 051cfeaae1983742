"""Triton's generation parameters, which `generate`, `generate_stream` and `infer` share."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from app.api.http.sampling_fields import (
    DEFAULTS,
    Least,
    Repetition,
    Seed,
    Share,
    StopText,
    StopTexts,
    Temperature,
    value_or,
)
from app.inference.generation import Stops
from app.wire.engine import SamplingParams


class InferSampling(msgspec.Struct, frozen=True, kw_only=True):
    """Generation parameters. With a `temperature` of 0, the most likely token is always chosen."""

    max_tokens: Annotated[int, Meta(ge=1, le=2**16)] | None = None
    temperature: Temperature | None = None
    top_k: Annotated[int, Meta(ge=-1, le=2**31 - 1)] | None = None
    top_p: Share | None = None
    min_p: Least | None = None
    repetition_penalty: Repetition | None = None
    seed: Seed | None = None
    stop: StopText | StopTexts | None = None


class TritonSampling(InferSampling, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Generation parameters. With a `temperature` of 0, the most likely token is always chosen."""

    stream: bool | None = None


def params_of(sampling: InferSampling) -> SamplingParams:
    """Return the parameters for the engine, with the service's defaults for those that are absent."""
    return SamplingParams(
        max_tokens=value_or(sampling.max_tokens, DEFAULTS.max_tokens),
        temperature=value_or(sampling.temperature, DEFAULTS.temperature),
        top_k=max(0, value_or(sampling.top_k, DEFAULTS.top_k)),
        top_p=value_or(sampling.top_p, DEFAULTS.top_p),
        min_p=value_or(sampling.min_p, DEFAULTS.min_p),
        repetition_penalty=value_or(sampling.repetition_penalty, DEFAULTS.repetition_penalty),
    )


def stops_of(sampling: InferSampling) -> Stops:
    return Stops((sampling.stop,) if isinstance(sampling.stop, str) else tuple(sampling.stop or ()))
