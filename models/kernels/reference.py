"""Differentiable products in plain PyTorch, for every device. Layers that are not bound to other kernels use them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from models.kernels.port import AddedProduct, Product

ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "silu": functional.silu,
    "gelu": functional.gelu,
    "gelu_tanh": partial(functional.gelu, approximate="tanh"),
    "relu": functional.relu,
}


def supports(device: torch.device, dtype: torch.dtype) -> bool:
    return True


def linear(weight: Tensor, bias: Tensor | None) -> Product:
    return lambda x: functional.linear(x, weight, bias)


def linear_add(weight: Tensor, bias: Tensor | None) -> AddedProduct:
    return lambda x, summand: functional.linear(x, weight, bias) + summand


def linear_activation(weight: Tensor, bias: Tensor | None, activation: str) -> Product:
    return lambda x: activated(functional.linear(x, weight, bias), activation)


def linear_gated(weight: Tensor, bias: Tensor | None, activation: str) -> Product:
    # Use one product for both halves: x is read only once, and its gradient takes only one product.
    return lambda x: activated(functional.linear(x, weight, bias), activation, gated=True)


def activated(y: Tensor, activation: str, *, gated: bool = False) -> Tensor:
    """Return f(y) or, if `gated` is true, f(y1) * y2 for the two halves y1 and y2 of y along the last dimension."""
    if not gated:
        return ACTIVATIONS[activation](y)
    gate, value = y.chunk(2, -1)
    return ACTIVATIONS[activation](gate) * value
