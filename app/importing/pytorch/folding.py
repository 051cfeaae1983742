"""Folds layers into adjacent weights during the import.

A layer that follows an embedding is applied to each row of the embedding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.importing.pytorch.parts import Layer
from app.importing.pytorch.tensors import Array

Wide = NDArray[np.float64]
_erf: Any = np.frompyfunc(math.erf, 1, 1)
ACTIVATIONS: Mapping[str, Callable[[Wide], Wide]] = {  # the names in `models.choices.ACTIVATIONS`
    "none": lambda x: x,
    "relu": lambda x: np.maximum(x, 0.0),
    "tanh": np.tanh,
    "gelu": lambda x: 0.5 * x * (1.0 + _erf(x / math.sqrt(2.0)).astype(np.float64)),
    "sigmoid": lambda x: 0.5 * (1.0 + np.tanh(0.5 * x)),
    "silu": lambda x: x * 0.5 * (1.0 + np.tanh(0.5 * x)),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0.0))),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
}


def project(table: Array, layer: Layer, activation: str) -> Array:
    """Return the embedding that replaces `table`, `layer` and the activation, with shape (rows, layer.outputs)."""
    product = table.astype(np.float64) @ layer.weight.T.astype(np.float64) + layer.some_bias
    return ACTIVATIONS[activation](product).astype(np.float32)


def merge(weight: Array, bias: Array, layer: Layer) -> tuple[Array, Array]:
    """Return the weight and bias of one linear layer that replaces `layer` and the next layer (`weight`, `bias`)."""
    wide = weight.astype(np.float64)
    return (wide @ layer.weight).astype(np.float32), (bias + wide @ layer.some_bias).astype(np.float32)
