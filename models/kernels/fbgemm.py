"""Matrix products with weights stored as float16, for inference on x86 processors. Activations and sums are float32.

With few rows, a product takes as long as reading the matrix from memory, and float16 halves the number of bytes. FBGEMM
converts the weights with instructions that all processors with AVX2 have.
"""

from __future__ import annotations

import torch
from torch import Tensor

from models.kernels import reference
from models.kernels.port import AddedProduct, Product

ENGINE = "fbgemm"
LARGEST = 65504.0  # the largest finite number in float16


def supports(device: torch.device, dtype: torch.dtype) -> bool:
    return device.type == "cpu" and dtype == torch.float16 and ENGINE in torch.backends.quantized.supported_engines


def linear(weight: Tensor, bias: Tensor | None) -> Product:
    if float(weight.detach().abs().max()) > LARGEST:
        raise RuntimeError("a weight is too large for float16")
    packed = torch.ops.quantized.linear_prepack_fp16(
        weight.detach().float().contiguous(), None if bias is None else bias.detach()
    )

    def product(x: Tensor) -> Tensor:
        output: Tensor = torch.ops.quantized.linear_dynamic_fp16(x, packed)
        return output

    return product


def linear_add(weight: Tensor, bias: Tensor | None) -> AddedProduct:
    product = linear(weight, bias)
    return lambda x, summand: product(x).add_(summand)


def linear_activation(weight: Tensor, bias: Tensor | None, activation: str) -> Product:
    product, function = linear(weight, bias), reference.ACTIVATIONS[activation]
    return lambda x: function(product(x))


def linear_gated(weight: Tensor, bias: Tensor | None, activation: str) -> Product:
    product, function = linear(weight, bias), reference.ACTIVATIONS[activation]

    def gated(x: Tensor) -> Tensor:
        gate, value = product(x).chunk(2, -1)
        return function(gate) * value

    return gated
