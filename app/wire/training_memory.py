"""Computes the memory that a network's weights need during training, including gradients and optimizer state.

The job API rejects a request if the weights alone do not fit in memory. The trainer adds the activations, which depend
on the data. Imports no torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.wire.training_options import TrainingOptions
from app.wire.training_rules import SMALLEST_VOCABULARY, heads_and_width
from models.choices import RECURRENT
from models.config import ModelConfig
from models.constraints import ConfigError
from models.parameters import Shape, in_branch, is_body_matrix, shapes

INSUFFICIENT = "insufficient_memory"  # the code of the error
NUMBER = 4  # bytes; weights are float32, even if matrix products are computed in bfloat16
MOMENTS = {"adamw": 2, "muon": 2, "sgd": 1}  # values that an optimizer keeps for each weight
EMBEDDING = "input.embedding.weight"
_HEADS = 4


@dataclass(frozen=True, slots=True)
class WeightMemory:
    """Memory in bytes for the weights, and for their gradients, moments and moving averages (`optimizer`)."""

    weights: int
    optimizer: int

    @property
    def total(self) -> int:
        return self.weights + self.optimizer


def weight_memory(
    config: ModelConfig, optimizer: str, *, averaged: bool, head_only: bool = False, freeze_embedding: bool = False,
    adapter: int = 0,
) -> WeightMemory:  # fmt: skip
    """Return the memory for a network's weights. With `averaged`, it includes a moving average of the weights.

    `adapter` is the number of values in the matrices of an adapter, which is trained in addition.
    """
    weights, kept = adapter, adapter * (1 + MOMENTS[optimizer] + averaged)
    for name, shape in shapes(config).items():
        size = math.prod(shape)
        weights += size
        if in_branch(name):
            kept += _of_branch(name, shape)
            continue
        trained = name.startswith("head") if head_only else not (freeze_embedding and name == EMBEDDING)
        moments = 1 if optimizer == "muon" and is_body_matrix(name, len(shape)) else MOMENTS[optimizer]
        kept += size * ((1 + moments) * trained + averaged)
    return WeightMemory(weights * NUMBER, kept * NUMBER)


def _of_branch(name: str, shape: Shape) -> int:
    """Return how many values training adds to a parameter of an n-gram branch. Tables have sparse gradients."""
    if name in ("ngrams.idf", "mix"):  # measured rather than trained
        return 0
    return shape[0] if len(shape) == 2 else 2 * shape[0]  # a learning rate for each row; for a vector, also a gradient


def least_memory(model: str, task: str | None, options: TrainingOptions) -> int:
    """Return a lower bound on the memory for a new network's weights, from the request alone.

    The vocabulary size and the number of labels depend on the data, so the smallest possible values are assumed.
    Returns 0 if the request does not determine the size of the network.
    """
    if model not in (*RECURRENT, "transformer") or (options.layers is None and options.width is None):
        return 0
    config = _smallest(model, task, options)
    if config is None:
        return 0
    return weight_memory(config, options.optimizer or "sgd", averaged=False).total


def tuned_memory(base: Mapping[str, Any], options: TrainingOptions) -> int:
    """Return a lower bound on the memory for the weights when fine-tuning the version with the configuration `base`."""
    try:
        config = ModelConfig.from_dict(base)
    except ConfigError:  # this release cannot read the version; the trainer reports the error
        return 0
    # The embedding is frozen only in large Transformers, but a lower bound may assume it for all.
    head_only, frozen = bool(options.head_only or options.lora), config.architecture == "transformer"
    optimizer = options.optimizer or "sgd"
    return weight_memory(config, optimizer, averaged=False, head_only=head_only, freeze_embedding=frozen).total


def _smallest(model: str, task: str | None, options: TrainingOptions) -> ModelConfig | None:
    """Return the smallest network that satisfies the request, or None if options are invalid."""
    generation = task == "generation"
    heads, width = 1, options.width or 1
    if model == "transformer":
        heads, width = heads_and_width(options, _HEADS, options.width or 2 * _HEADS)
    try:
        return ModelConfig(
            architecture=model,
            task=task or "classification",
            vocab_size=options.vocab_size or SMALLEST_VOCABULARY,
            classes=0 if generation else 1,
            layers=options.layers or 1,
            width=width,
            heads=heads,
            kv_heads=options.kv_heads or 0,
            input_width=1 if model in RECURRENT and not generation else 0,
            bidirectional=bool(options.bidirectional) and not generation,
        )
    except ConfigError:
        return None


def check_weights(needed: int, limit: int) -> str:
    """Return the error message for weights that do not fit in `limit` bytes, or an empty string if they fit."""
    if needed <= limit:
        return ""
    return (
        f"a network of this size needs at least {gigabytes(needed)} for its weights and the optimizer, but a "
        f"training run may use only {gigabytes(limit)} (OSTINATO_TRAINING_MEMORY); use fewer layers or a smaller width"
    )


def gigabytes(size: float) -> str:
    """Format a number of bytes for messages: 340 MB, 1.4 GB."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{max(1, round(size / 1e6))} MB"
