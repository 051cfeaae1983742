"""Limits of an engine: tokens and slots per step, and memory for weights and for the prefix cache."""

from __future__ import annotations

from dataclasses import dataclass

from models.config import ModelConfig
from models.cost import affordable_tokens

PIECE_SECONDS = 0.25  # the maximum predicted time of one batch, or of the prompt tokens of one step, on all cores


@dataclass(frozen=True, slots=True)
class StepLimits:
    """Limits on each step, and on the memory for weights and for the prefix cache.

    `max_batch_tokens`: the maximum number of tokens in a scoring batch, including padding. `max_slots`: the maximum
    number of sequences of one version that are decoded together. `prefill_tokens`: the maximum number of prompt tokens
    read between two decode steps. `invariant`: whether to compute with fixed shapes, so that replies are bit-identical
    regardless of other requests. `memory`: the maximum total size of the weights, in bytes. `prefixes`: the maximum
    size of the prefix cache, in bytes (0: no cache). `speed`: the number of multiplications and additions that the
    device performs per second. The engine uses it to calculate how many tokens a step can compute in PIECE_SECONDS.
    """

    max_batch_tokens: int
    max_slots: int
    prefill_tokens: int
    invariant: bool = False
    memory: int = 2**63
    prefixes: int = 0
    speed: float = float("inf")

    def tokens_of_step(self, config: ModelConfig, most: int) -> int:
        """Return how many tokens a step may compute: `most`, or fewer if `most` tokens take more than PIECE_SECONDS."""
        return min(most, affordable_tokens(config, PIECE_SECONDS, self.speed))
