"""Removes tensors from a Hugging Face model and renames them. The remaining tensors belong to its head."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.importing.pytorch.tensors import Array, ForeignFileInvalid, Tensors


@dataclass(frozen=True, slots=True)
class ForeignBody:
    """The fields of a `ModelConfig` that describe a body, and the weights under the names that our networks use."""

    fields: dict[str, Any]
    tensors: Tensors


def take(tensors: Tensors, name: str) -> Array:
    """Remove a tensor and return it. Raises ForeignFileInvalid if it is missing."""
    if name not in tensors:
        raise ForeignFileInvalid(f"the tensor {name!r} is missing; the weights do not belong to this config.json")
    return tensors.pop(name)


def table(tensors: Tensors, name: str, width: int) -> Array:
    """Remove and return a table whose rows have `width` numbers."""
    values = take(tensors, name)
    if values.ndim != 2 or values.shape[1] != width or not len(values):
        raise ForeignFileInvalid(f"the tensor {name!r} has shape {values.shape}; it must have {width} columns")
    return values


def moved(tensors: Tensors, names: Mapping[str, str]) -> Tensors:
    """Remove the weights and biases of the modules `names`, and return them under the names of our modules."""
    parts = {f"{theirs}.{kind}": f"{ours}.{kind}" for theirs, ours in names.items() for kind in ("weight", "bias")}
    return {ours: take(tensors, theirs) for theirs, ours in parts.items()}


def moved_norm(tensors: Tensors, theirs: str, ours: str, bias: bool) -> Tensors:
    """Remove the weight of a norm and, if it has one, its bias, and return them under our names."""
    kinds = ("weight", "bias") if bias else ("weight",)
    return {f"{ours}.{kind}": take(tensors, f"{theirs}.{kind}") for kind in kinds}


def joined(tensors: Tensors, names: Iterable[str]) -> Array:
    """Remove the tensors `names` and concatenate them along their first dimension."""
    parts = [take(tensors, name) for name in names]
    if len({part.shape[1:] for part in parts}) != 1 or parts[0].ndim not in (1, 2):
        shapes = ", ".join(str(part.shape) for part in parts)
        raise ForeignFileInvalid(f"{', '.join(names)} have shapes {shapes}, which are not compatible")
    return np.concatenate(parts)


def plain_names(tensors: Tensors, prefixes: Iterable[str]) -> Tensors:
    """Return the tensors under their usual names.

    Removes one prefix from all names: the first of the `prefixes` that occurs. `gamma` and `beta` of a norm become
    `weight` and `bias`.
    """
    prefix = next((prefix for prefix in prefixes if any(name.startswith(prefix) for name in tensors)), "")
    renamed = {}
    for name, tensor in tensors.items():
        plain = name.removeprefix(prefix)
        for old, new in ((".gamma", ".weight"), (".beta", ".bias")):  # the names in files of 2018 and 2019
            plain = plain.removesuffix(old) + new if plain.endswith(f"Norm{old}") else plain
        if plain in renamed:
            raise ForeignFileInvalid(f"the tensor {plain[:80]!r} is in the file twice, with and without a prefix")
        renamed[plain] = tensor
    return renamed
