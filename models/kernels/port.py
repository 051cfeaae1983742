"""The interface for the matrix products in layers, and the base class of layers whose products can be replaced."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

Product = Callable[[Tensor], Tensor]  # x (…, in) to (…, out)
AddedProduct = Callable[[Tensor, Tensor], Tensor]  # x (…, in) and a summand (…, out) to (…, out)


class Kernels(Protocol):
    """Matrix products with fixed weights, implemented for one kind of processor.

    A module with these functions implements this protocol.

    Each function takes a weight W (out, in) and a bias b (out) or None, and returns the product as a function of x.
    One-time work on a matrix, such as changing its memory layout, is done when the product is created. Except in
    `reference`, the products are for inference only: they have no gradients, and later changes to the weight have no
    effect. `activation` is "silu", "gelu" (the exact GELU, with erf), "gelu_tanh" (its approximation) or "relu".
    """

    def supports(self, device: torch.device, dtype: torch.dtype) -> bool:
        """Whether these kernels support weights of this dtype on this device.

        If activations cannot have this dtype, the kernels convert float32 weights to it and compute in float32.
        """
        ...

    def linear(self, weight: Tensor, bias: Tensor | None) -> Product:
        """Return the function x -> x W' + b, where W' is the transpose of W."""
        ...

    def linear_add(self, weight: Tensor, bias: Tensor | None) -> AddedProduct:
        """Return the function (x, y) -> x W' + b + y."""
        ...

    def linear_activation(self, weight: Tensor, bias: Tensor | None, activation: str) -> Product:
        """Return the function x -> f(x W' + b)."""
        ...

    def linear_gated(self, weight: Tensor, bias: Tensor | None, activation: str) -> Product:
        """Return the function x -> f(x W1' + b1) * (x W2' + b2).

        W1 and W2 are the two halves of W (2 out, in), and b1 and b2 are the two halves of b (2 out).
        """
        ...


class KernelLayer(nn.Module):
    """A layer that can be switched once, for inference, to the matrix products of other kernels.

    `whole_sequences` is false if the other kernels compute only single steps from a state, not whole sequences.
    """

    whole_sequences: ClassVar[bool] = True

    def bind(self, kernels: Kernels) -> int:
        """Compute with `kernels` from now on, and drop the parameters that only the replaced products needed.

        Returns the size in bytes of the weights that are then in memory twice: in prepared form, and as parameters that
        other computations still need.
        """
        raise NotImplementedError
