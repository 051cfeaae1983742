"""Predicts how long a network takes for a sequence, and how many tokens it can process in a given time.

Imports no torch. The predicted time is the number of multiplications and additions, divided by an assumed speed that is
lower than the speed of an idle machine. A recurrent network also has a minimum time for each step.
"""

from __future__ import annotations

from models.choices import LOCAL_BLOCK
from models.config import ModelConfig
from models.parameters import GATES, body_width

CORE_SPEED, GPU_SPEED = 25e9, 5e12  # multiplications and additions per second of one core and of a GPU
SHORT, UNBOUNDED = 128, 2**31  # tokens in a short sequence; more tokens than any batch has
STEP_SECONDS = 20e-6  # the minimum time per step of a recurrent layer; its steps run one after another


def predict(config: ModelConfig, length: int, speed: float) -> float:
    """Return the predicted seconds for one sequence at a speed of `speed` multiplications and additions per second."""
    if config.architecture == "linear":
        return 0.0
    waiting = _passes(config) * STEP_SECONDS if config.recurrent else 0.0
    return length * (waiting + _operations(config, length) / speed)


def affordable_tokens(config: ModelConfig, seconds: float, speed: float) -> int:
    """Return the number of tokens, in short sequences, that a network can process in one batch within `seconds`."""
    if config.architecture == "linear" or speed == float("inf"):
        return UNBOUNDED
    return max(1, int(seconds * speed / _operations(config, SHORT)))


def _passes(config: ModelConfig) -> int:
    """Return the number of times that a recurrent network reads a sequence: once in each layer and direction."""
    return config.layers * (2 if config.bidirectional else 1)


def _operations(config: ModelConfig, length: int) -> int:
    """Return the number of multiplications and additions for one token in a sequence of this length."""
    if config.recurrent:
        inputs = config.width + max(body_width(config), config.vector_width)
        return _passes(config) * 2 * GATES[config.architecture] * config.width * inputs
    if config.architecture != "transformer":
        raise NotImplementedError(f"models/cost.py has no formula for the computing time of {config.architecture!r}")
    per_token = 8 * config.width**2 + 6 * config.width * config.inner_width
    # The scores of all keys, and the weighted sum of all values.
    attention = sum(4 * config.width * _keys(config.window(layer), length) for layer in range(config.layers))
    return config.layers * per_token + attention


def _keys(window: int, length: int) -> int:
    """Return the number of keys with which a layer compares each query."""
    return min(length, LOCAL_BLOCK + 2 * window) if window else length
