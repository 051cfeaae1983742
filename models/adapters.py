"""The names, shapes and meaning of the matrices of low-rank adapters. Imports no torch.

A matrix W of the base, with the name `N.weight` and the shape (out, in), is replaced by W + alpha / r * B A. A (r, in)
has the name `N.lora_A.weight`, and B (out, r) has the name `N.lora_B.weight`, as in PEFT.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from models.config import ModelConfig
from models.parameters import Shape, is_body_matrix, shapes

DOWN, UP = "lora_A.weight", "lora_B.weight"


def adapter_shapes(config: ModelConfig, targets: Collection[str], r: int) -> Iterator[tuple[str, Shape]]:
    """Yield the name and the shape of each matrix of an adapter. `targets` are names from `ADAPTABLE`."""
    for name, shape in shapes(config).items():
        module = name.removesuffix("weight")
        if is_body_matrix(name, len(shape)) and module.rstrip(".").rpartition(".")[2] in targets:
            yield module + DOWN, (r, shape[1])
            yield module + UP, (shape[0], r)


def is_adapter(name: str) -> bool:
    """Return whether the parameter `name` is a matrix of an adapter."""
    return name.endswith((DOWN, UP))


def merged(base: Mapping[str, Any], adapter: Mapping[str, Any], scale: float) -> dict[str, Any]:
    """Return the tensors of a network, computed from the tensors of its base and its adapter (NumPy or torch).

    The tensors of the adapter that are not low-rank matrices replace those of the base. `scale` is alpha / r.
    Matrices in half precision are computed in float32.
    """
    tensors = dict(base) | {name: tensor for name, tensor in adapter.items() if not is_adapter(name)}
    for name, down in adapter.items():
        if name.endswith(DOWN):
            module = name.removesuffix(DOWN)
            product = _widened(adapter[module + UP]) @ _widened(down)
            tensors[f"{module}weight"] = _widened(tensors[f"{module}weight"]) + scale * product
    return tensors


def _widened(tensor: Any) -> Any:
    if tensor.itemsize >= 4:
        return tensor
    return tensor.float() if hasattr(tensor, "float") else tensor.astype("float32")
