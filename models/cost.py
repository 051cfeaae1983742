"""Predicts how long a network takes for one sequence, based on measurements. Imports no torch.

The prediction is the number of multiplications and additions divided by an assumed speed, which is lower than that of
an idle machine.
"""

from __future__ import annotations

from models.config import ModelConfig
from models.parameters import GATES, body_width

CORE_SPEED, GPU_SPEED = 25e9, 5e12  # multiplications and additions per second of one core and of a GPU
STEP_SECONDS = 20e-6  # the minimum time per step of a recurrent layer; its steps run one after another


def predict(config: ModelConfig, length: int, speed: float) -> float:
    """Return the predicted seconds for one sequence at a speed of `speed` multiplications and additions per second."""
    if config.architecture == "linear":
        return 0.0
    if config.recurrent:
        steps = length * config.layers * (2 if config.bidirectional else 1)
        inputs = config.width + max(body_width(config), config.vector_width)
        return steps * (STEP_SECONDS + 2 * GATES[config.architecture] * config.width * inputs / speed)
    if config.architecture != "transformer":
        raise NotImplementedError(f"models/cost.py has no formula for the computing time of {config.architecture!r}")
    per_token = 8 * config.width**2 + 6 * config.width * config.inner_width
    attention = 4 * config.width * length  # per token: the scores of all keys, and the weighted sum of all values
    return config.layers * length * (per_token + attention) / speed
