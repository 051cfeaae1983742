"""Types of the sampling fields in requests, shared by all dialects that generate text."""

from __future__ import annotations

from typing import Annotated, TypeVar

from msgspec import Meta

from app.wire.engine import SamplingParams

DEFAULTS = SamplingParams()
SEED_MASK = (1 << 63) - 1  # the engine accepts seeds from 0 to 2**63 - 1
StopText = Annotated[str, Meta(min_length=1, max_length=1024)]
StopTexts = Annotated[list[StopText], Meta(max_length=16)]
TokenId = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Alternatives = Annotated[int, Meta(ge=0, le=20)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Repetition = Annotated[float, Meta(gt=0, le=100)]
Share = Annotated[float, Meta(gt=0, le=1)]
Least = Annotated[float, Meta(ge=0, le=1)]
Temperature = Annotated[float, Meta(ge=0, le=100)]
Seed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
NewTokens = Annotated[int, Meta(ge=1, le=2**20)]
T = TypeVar("T")


def value_or(value: T | None, default: T) -> T:
    """Return the value, or the default if the value is None: clients may send null to request the default."""
    return default if value is None else value


def masked(seed: int | None) -> int | None:
    """Convert a request's seed to the engine's seed; None stands for a random seed."""
    return None if seed is None else seed & SEED_MASK
