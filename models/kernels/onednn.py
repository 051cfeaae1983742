"""Matrix products with weights prepacked for oneDNN, for inference on x86 processors.

`torch.nn.functional.linear` rearranges the matrix at every call, and distributes the work unevenly among threads if
there are few rows. In decoding, where a product has only a few rows, this overhead takes up to half of the time. With
many rows, as in classification, torch's function is at least as fast as the products in this module (see docs/log.md
for measurements).

torch.compile uses the same operators for linear layers on a CPU (torch._inductor, mkldnn_fusion.py). Calling these
operators directly does not require a compiler.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping

import torch
from torch import Tensor

from models.kernels.port import AddedProduct, Product

# Activation -> (post-operation, algorithm), as oneDNN names them. "swish" is SiLU. With the algorithm "none", "gelu" is
# the exact GELU, with erf; "tanh" is its approximation.
_POST_OPERATIONS: Mapping[str, tuple[str, str]] = {
    "none": ("none", ""),
    "silu": ("swish", ""),
    "gelu": ("gelu", "none"),
    "gelu_tanh": ("gelu", "tanh"),
    "relu": ("relu", ""),
}


def supports(device: torch.device, dtype: torch.dtype) -> bool:
    if device.type != "cpu" or platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    # oneDNN has bfloat16 kernels only for processors with bfloat16 instructions.
    return dtype == torch.float32 or (dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def linear(weight: Tensor, bias: Tensor | None) -> Product:
    return linear_activation(weight, bias, "none")


def linear_add(weight: Tensor, bias: Tensor | None) -> AddedProduct:
    return _binary(weight, bias, "add")


def linear_activation(weight: Tensor, bias: Tensor | None, activation: str) -> Product:
    packed, bias = _packed(weight), _detached(bias)
    name, algorithm = _POST_OPERATIONS[activation]

    def product(x: Tensor) -> Tensor:
        output: Tensor = torch.ops.mkldnn._linear_pointwise(x, packed, bias, name, [], algorithm)
        return output

    return product


def linear_gated(weight: Tensor, bias: Tensor | None, activation: str) -> Product:
    # Compute the two halves as separate products. The activation is then applied within the first product, and the
    # elementwise multiplication within the second, while their results are still in the cache. With one product for
    # both halves, the activation and the multiplication would each need another pass over memory.
    gate_weight, value_weight = weight.chunk(2)
    gate_bias, value_bias = (None, None) if bias is None else bias.chunk(2)
    gate = linear_activation(gate_weight, gate_bias, activation)
    times = _binary(value_weight, value_bias, "mul")
    return lambda x: times(x, gate(x))


def _binary(weight: Tensor, bias: Tensor | None, operation: str) -> AddedProduct:
    """Return the product x W' + b, combined with a second operand in the same kernel."""
    packed, bias = _packed(weight), _detached(bias)

    def product(x: Tensor, other: Tensor) -> Tensor:
        output: Tensor = torch.ops.mkldnn._linear_pointwise.binary(x, other, packed, bias, operation)
        return output

    return product


def _packed(weight: Tensor) -> Tensor:
    """Return the matrix in oneDNN's blocked layout. The argument None permits inputs with any number of rows."""
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), None)
    return packed


def _detached(bias: Tensor | None) -> Tensor | None:
    return None if bias is None else bias.detach()
