"""The modes in which a processor can compute a network: combinations of a data type for the weights and a kernel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from models.kernels import choice
from models.kernels.port import KernelLayer

# The name of a data type for weights -> its dtype in torch. For a type that is not in `ACTIVATIONS`, only the weights
# packed by kernels have this type; activations and all other parameters are float32.
TYPES: Mapping[str, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
ACTIVATIONS = ("float32", "bfloat16")  # the data types in which activations can be computed
EXACT = "float32"  # the data type with which all others are compared


@dataclass(frozen=True, slots=True)
class ComputeMode:
    """A way to compute a network.

    `type` is the data type of the weights, a key of `TYPES`. `kernel` is the name of a module in `choice.KERNELS`, or
    `choice.PLAIN`.
    """

    type: str
    kernel: str

    def __str__(self) -> str:
        return f"{self.type}/{self.kernel}"

    @classmethod
    def parse(cls, text: str) -> ComputeMode:
        """Parse the text that `str` returns for a mode."""
        kind, _, kernel = text.partition("/")
        return cls(kind, kernel)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the network and of its activations."""
        return TYPES[self.type if self.type in ACTIVATIONS else EXACT]


def fixed_mode(device: torch.device, dtype: torch.dtype, *, generates: bool) -> ComputeMode:
    """Return the mode to use without measurements: plain PyTorch, except that generation uses kernels if available."""
    kernels = choice.choose(device, dtype) if generates else None
    return ComputeMode(str(dtype).removeprefix("torch."), choice.name_of(kernels))


def supported_modes(device: torch.device, network: nn.Module, *, generates: bool) -> list[ComputeMode]:
    """Return the modes that this device supports for a network. Kernels that are used only for decoding are left out if
    the network does not generate text.
    """
    modes = [ComputeMode(name, choice.PLAIN) for name in ACTIVATIONS if _is_native(device, TYPES[name])]
    layers = [layer for layer in network.modules() if isinstance(layer, KernelLayer)]
    if any(generates or layer.whole_sequences for layer in layers):
        modes += [
            ComputeMode(name, choice.name_of(kernels))
            for name, dtype in TYPES.items()
            for kernels in choice.KERNELS
            if kernels.supports(device, dtype)
        ]
    return modes


def set_mode(network: Any, mode: ComputeMode, device: torch.device) -> int:
    """Move a float32 network to the device and run it in this mode from now on, for inference only.

    Returns the size of the weights in memory, in bytes, including those that are in memory twice.
    """
    network.to(device=device, dtype=mode.dtype)
    size, kernels = _size(network), choice.named(mode.kernel)
    if kernels is None:
        return size
    twice = choice.bind(network, kernels)
    kept = _size(network)
    return kept + (size - kept + twice) * TYPES[mode.type].itemsize // mode.dtype.itemsize


def _size(network: nn.Module) -> int:
    return sum(int(tensor.nbytes) for tensor in network.state_dict().values())


def _is_native(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether the processor has instructions for this dtype and plain PyTorch uses them.

    Emulated bfloat16 is never faster than float32.
    """
    if dtype == torch.float32:
        return True
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    mkldnn = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return device.type == "cpu" and mkldnn and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
