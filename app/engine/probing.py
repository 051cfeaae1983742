"""Prepares the probes of a version: checks stored probes, and adds probes of random tokens if there are too few."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection

from msgspec.structs import replace

from app.wire import probes as wire
from app.wire.probes import MOST, STEPS, VOCABULARY, ProbeSet
from models.config import ModelConfig

SHORTEST, LONGEST = 5, 100  # tokens of a random probe


def probes_of(
    config: ModelConfig, stored: bytes, digest: str, specials: Callable[[], Collection[int]]
) -> ProbeSet | None:
    """Return `MOST` probes for a version, or None if the version reads numbers and has too few stored probes.

    `stored` contains the version's encoded probes, if any. If there are too few probes of token ids, probes of random
    tokens are added. The random tokens depend only on the digest, and none of them is in `specials`.
    """
    probes = wire.decode(stored) or ProbeSet("")
    if config.input == "features":
        features = [row for row in probes.features if _fits(row.features, row.steps, len(row.data), config)]
        return replace(probes, features=features[:MOST]) if len(features) >= MOST else None
    longest = min(config.context_length, STEPS)
    sequences = [row[:longest] for row in probes.sequences if row and min(row) >= 0 and max(row) < config.vocab_size]
    sequences = sequences[:MOST]
    if len(sequences) == MOST:
        return ProbeSet(probes.source, sequences)
    source = f"{probes.source} and {VOCABULARY}" if sequences else VOCABULARY
    return ProbeSet(source, sequences + _random(config, digest, specials(), MOST - len(sequences), longest))


def _fits(features: int, steps: int, size: int, config: ModelConfig) -> bool:
    return (
        features == config.features
        and 0 < steps <= config.context_length
        and size in (4 * steps * features, 8 * steps * features)
    )


def _random(config: ModelConfig, digest: str, specials: Collection[int], count: int, longest: int) -> list[list[int]]:
    excluded, numbers = set(specials), random.Random(digest)
    ids = [i for i in range(config.vocab_size) if i not in excluded] or list(range(config.vocab_size))
    shortest, longest = min(SHORTEST, longest), min(LONGEST, longest)
    return [numbers.choices(ids, k=numbers.randint(shortest, longest)) for _ in range(count)]
