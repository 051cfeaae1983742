"""The parts of a directory in Hugging Face's layout, before they are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from app.importing.pytorch.tensors import Array, Tensors
from models.config import ModelConfig


@dataclass(frozen=True, slots=True)
class Modules:
    """The files of sentence-transformers, by path: JSON values and module weights."""

    values: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, Tensors] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DirectoryContent:
    """The content of config.json, the tensors under their names in transformers, and additional modules, if any."""

    config: dict[str, Any]
    tensors: Tensors
    modules: Modules | None = None


def split(joined: Array, layer: str, names: Sequence[str], kind: str, config: ModelConfig) -> Tensors:
    """Split the joined queries, keys and values of a layer into three tensors."""
    heads, groups, key = config.heads, config.groups, config.key_width
    parts = np.split(joined, [heads * key, (heads + groups) * key])
    return {f"{layer}.{name}.{kind}": np.ascontiguousarray(part) for name, part in zip(names, parts, strict=True)}
