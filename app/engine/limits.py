"""The bounds of one engine: tokens and slots of a step, and memory for weights."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StepLimits:
    """The bounds of a step, and of the weights in memory.

    `max_batch_tokens`: tokens of a scoring batch, padding included. `max_slots`: sequences that decode side by side,
    for each version. `prefill_tokens`: prompt tokens read between two decode steps. `invariant`: compute with fixed
    shapes, so that a reply does not depend on the other requests, to the last bit. `memory`: bytes of weights.
    """

    max_batch_tokens: int
    max_slots: int
    prefill_tokens: int
    invariant: bool = False
    memory: int = 2**63
