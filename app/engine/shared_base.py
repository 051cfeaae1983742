"""The network of a base whose weights are in memory once for several versions."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from models.choices import HEAD_FIELDS
from models.config import ModelConfig
from models.kernels.modes import ComputeMode
from models.mixed_adapters import AdapterStacks


@dataclass(frozen=True, slots=True)
class BaseKey:
    """Versions with equal keys can share a network.

    `weights` is the hash of the weights file, and `network` contains the configuration of the shared part as JSON.
    """

    weights: str
    network: str
    mode: ComputeMode

    @classmethod
    def new(cls, weights: str, config: ModelConfig, normalization: Any, mode: ComputeMode) -> BaseKey:
        """Return the key of a version. `normalization` is that of its numeric inputs."""
        generates = config.task == "generation"
        own = ("dropout",) if generates else HEAD_FIELDS  # versions that generate text share their head as well
        shared = {name: value for name, value in asdict(config).items() if name not in own}
        return cls(weights, json.dumps([generates, shared, normalization], sort_keys=True), mode)


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class SharedBase:
    """The input and the body of a base, or its whole `language_model`, with all adapters kept apart.

    `nbytes` is the size of the weights in memory. `parts` contains the scorers or the decoder that all versions use,
    by the type of their requests.
    """

    key: BaseKey
    input: Any = field(repr=False)
    body: Any = field(repr=False)
    language_model: Any = field(repr=False)
    nbytes: int
    stacks: AdapterStacks = field(default_factory=AdapterStacks, repr=False)
    parts: dict[type, Any] = field(default_factory=dict, repr=False)
