"""Limits of an engine: tokens and slots per step, and memory for weights."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StepLimits:
    """Limits on each step and on the memory for weights.

    `max_batch_tokens`: the maximum number of tokens in a scoring batch, including padding. `max_slots`: the maximum
    number of sequences of one version that are decoded together. `prefill_tokens`: the maximum number of prompt tokens
    read between two decode steps. `invariant`: whether to compute with fixed shapes, so that replies are bit-identical
    regardless of other requests. `memory`: the maximum size of all weights, in bytes. `prefixes`: the maximum size of
    the prefix cache, in bytes (0: no cache).
    """

    max_batch_tokens: int
    max_slots: int
    prefill_tokens: int
    invariant: bool = False
    memory: int = 2**63
    prefixes: int = 0
