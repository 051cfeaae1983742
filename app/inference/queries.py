"""Queries that callers pass to `Inference`, and the result of a scoring query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from app.inference.generation import Stops
from app.inference.items import Item
from app.inference.lengths import LengthPolicy
from app.inference.versions import ResolvedVersion
from app.wire import engine as wire


@dataclass(frozen=True, slots=True)
class InferenceQuery:
    """A query to one version: the model reference, inputs, principal, and time limit in seconds.

    `param` is the request field named in errors about the inputs. `trusted` marks a query made by the service itself,
    such as a readiness check. A trusted query is never suspected of having crashed an engine. If `calibrated` is
    true, the version's calibration, if it has one, is applied to classification outputs. If `measured` is false, the
    query appears neither in the metrics nor in the traffic.
    """

    reference: str
    items: Sequence[Item]
    principal: str
    seconds: float
    length_policy: LengthPolicy = field(default_factory=LengthPolicy)
    param: str = "input"
    trusted: bool = False
    calibrated: bool = True
    measured: bool = True


@dataclass(frozen=True, slots=True)
class GenerationQuery(InferenceQuery):
    """A query for `n` continuations of each prompt; choice i * n + j is the j-th continuation of prompt i.

    With `open_ended`, the parameter `max_tokens` is ignored, and a continuation may have as many tokens as fit into the
    context and the principal's quota. `limit_param` is the request field that limits the number of tokens, for use in
    error messages. If a continuation begins with the character `lead`, this character is removed. Only requests with
    the same principal and `cache_salt` share states in the prefix cache.
    """

    params: wire.SamplingParams = field(default_factory=wire.SamplingParams)
    seed: int | None = None
    n: int = 1
    stops: Stops = field(default_factory=Stops)
    open_ended: bool = False
    limit_param: str = "max_tokens"
    lead: str = ""
    cache_salt: str = ""


@dataclass(frozen=True, slots=True)
class ScoredBatch:
    """Each item's head outputs or unit vector, and the lengths of the items in tokens or steps."""

    version: ResolvedVersion
    rows: list[list[float]]
    lengths: list[int]
    timing: wire.Timing
