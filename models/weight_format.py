"""The names, shapes and dtypes that a configuration requires of the tensors in `model.safetensors`.

Imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from models import parameters
from models.config import ModelConfig
from models.parameters import Shape

NAME_SHOWN = 80  # maximum length of an unexpected tensor's name in a message; such names come from an untrusted file


class WeightsMismatch(ValueError):
    """The stored tensors do not match a configuration. `tensor` is the name of the first tensor that differs."""

    def __init__(self, tensor: str, message: str) -> None:
        super().__init__(message)
        self.tensor = tensor


@dataclass(frozen=True, slots=True)
class WeightFormat:
    """The storage format of a network's weights.

    `shapes` returns the name and shape of every tensor for a configuration. `dtypes` are the allowed dtypes, in the
    notation of safetensors; loading converts tensors to the engine's dtype.
    """

    dtypes: frozenset[str]
    shapes: Callable[[ModelConfig], dict[str, Shape]]

    def check(self, config: ModelConfig, tensors: Mapping[str, tuple[str, Shape]]) -> None:
        """Raise `WeightsMismatch` unless `tensors` (name to dtype and shape) are exactly the weights of `config`."""
        expected = self.shapes(config)
        for name in sorted(expected.keys() | tensors.keys()):
            if name not in tensors:
                raise WeightsMismatch(name, f"tensor {name!r} of shape {expected[name]} is missing")
            if name not in expected:
                shown = name[:NAME_SHOWN]
                raise WeightsMismatch(name, f"tensor {shown!r} is not a parameter of this network")
            dtype, shape = tensors[name]
            if shape != expected[name]:
                raise WeightsMismatch(name, f"tensor {name!r} has shape {shape}; it must have {expected[name]}")
            if dtype not in self.dtypes:
                allowed = ", ".join(sorted(self.dtypes))
                raise WeightsMismatch(name, f"tensor {name!r} has dtype {dtype}; it must have one of {allowed}")


FLOATING = WeightFormat(frozenset({"BF16", "F16", "F32", "F64"}), parameters.shapes)


def check_weights(config: ModelConfig, tensors: Mapping[str, tuple[str, Shape]]) -> None:
    """Raise `WeightsMismatch` unless a checkpoint's tensors (name to dtype and shape) match its configuration."""
    FLOATING.check(config, tensors)
