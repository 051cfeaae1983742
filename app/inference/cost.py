"""Predicts the time to compute one sequence, so that no request can occupy an engine for minutes.

A sequence is computed in one piece, and no deadline interrupts the computation. The prediction divides the number of
multiplications and additions by an assumed speed, which is lower than the speed of an idle machine.
"""

from __future__ import annotations

from collections.abc import Iterable

from app.errors import InvalidRequest
from app.inference.engines.client import EngineClient
from app.inference.versions import ResolvedVersion
from models.config import ModelConfig
from models.parameters import GATES, body_width

CORE_SPEED, GPU_SPEED = 25e9, 5e12  # multiplications and additions per second of one core and of a GPU
STEP_SECONDS = 20e-6  # the minimum time per step of a recurrent layer; its steps run one after another


def check(version: ResolvedVersion, lengths: Iterable[int], engines: Iterable[EngineClient], limit: float) -> None:
    """Raise InvalidRequest (`sequence_too_expensive`) if the longest sequence would take more than `limit` seconds.

    Does nothing if no engine has reported its device yet.
    """
    speed = max((_speed(engine) for engine in engines), default=0.0)
    longest = max(lengths, default=0)
    seconds = predict(version.config, longest, speed) if speed else 0.0
    if seconds > limit:
        raise InvalidRequest(
            f"{version.ref} would need about {seconds:.0f} seconds for a sequence of {longest} tokens on this machine; "
            f"the limit is {limit:g} seconds (OSTINATO_MAX_SEQUENCE_SECONDS)",
            code="sequence_too_expensive",
        )


def predict(config: ModelConfig, length: int, speed: float) -> float:
    """Return the predicted seconds for one sequence at `speed` multiplications and additions per second."""
    if config.architecture == "linear":
        return 0.0
    if config.recurrent:
        steps = length * config.layers * (2 if config.bidirectional else 1)
        inputs = config.width + max(body_width(config), config.vector_width)
        return steps * (STEP_SECONDS + 2 * GATES[config.architecture] * config.width * inputs / speed)
    if config.architecture != "transformer":
        raise NotImplementedError(
            f"app/inference/cost.py has no formula for the computing time of {config.architecture!r}"
        )
    per_token = 8 * config.width**2 + 6 * config.width * config.inner_width
    attention = 4 * config.width * length  # per token: the scores of all keys, and the weighted sum of all values
    return config.layers * length * (per_token + attention) / speed


def _speed(engine: EngineClient) -> float:
    heartbeat = engine.heartbeat
    if heartbeat is None:
        return 0.0
    return GPU_SPEED if heartbeat.device.startswith("cuda") else CORE_SPEED * heartbeat.threads
