"""Predicts how long one sequence takes to compute, so that no request can occupy an engine for minutes.

A sequence is scored in one computation. An engine can stop this computation at the request's deadline only if the
sequence is long, because only long sequences are computed in a separate thread, on one core.
"""

from __future__ import annotations

from collections.abc import Iterable

from app.errors import InvalidRequest
from app.inference.engines.client import EngineClient
from app.inference.versions import ResolvedVersion
from models.cost import CORE_SPEED, GPU_SPEED, predict


def check(
    version: ResolvedVersion, lengths: Iterable[int], engines: Iterable[EngineClient], limit: float, *, prompts: bool
) -> None:
    """Raise InvalidRequest (`sequence_too_expensive`) if the longest sequence would take more than `limit` seconds.

    `prompts` indicates whether the sequences are prompts, which are computed on all cores. Does nothing if no
    engine has reported its device yet.
    """
    speed = max((_speed(engine, prompts) for engine in engines), default=0.0)
    longest = max(lengths, default=0)
    seconds = predict(version.config, longest, speed) if speed else 0.0
    if seconds > limit:
        raise InvalidRequest(
            f"{version.ref} would need about {seconds:.0f} seconds for a sequence of {longest} tokens on this machine; "
            f"the limit is {limit:g} seconds (OSTINATO_MAX_SEQUENCE_SECONDS)",
            code="sequence_too_expensive",
        )


def _speed(engine: EngineClient, all_cores: bool) -> float:
    heartbeat = engine.heartbeat
    if heartbeat is None:
        return 0.0
    return GPU_SPEED if heartbeat.device.startswith("cuda") else CORE_SPEED * (heartbeat.threads if all_cores else 1)
