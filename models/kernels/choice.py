"""Chooses the kernels for a network when the network is loaded."""

from __future__ import annotations

import torch
from torch import nn

from models.kernels import fbgemm, onednn
from models.kernels.port import KernelLayer, Kernels

KERNELS: tuple[Kernels, ...] = (onednn, fbgemm)  # `choose` returns the first that supports the device and the dtype


PLAIN = "torch"  # the name of PyTorch's own matrix products


def choose(device: torch.device, dtype: torch.dtype) -> Kernels | None:
    """Return the kernels for decoding in this dtype on this device, or None for PyTorch's own matrix products."""
    return next((kernels for kernels in KERNELS if kernels.supports(device, dtype)), None)


def name_of(kernels: Kernels | None) -> str:
    """Return the name of the module that contains these kernels, or `PLAIN`."""
    return PLAIN if kernels is None else str(getattr(kernels, "__name__", "")).rpartition(".")[2]


def named(name: str) -> Kernels | None:
    """Return the kernels with this name, or None for `PLAIN`. Raises KeyError for an unknown name."""
    return {PLAIN: None, **{name_of(kernels): kernels for kernels in KERNELS}}[name]


def bind(network: nn.Module, kernels: Kernels) -> int:
    """Bind every `KernelLayer` of `network` to `kernels`, in place, for inference only.

    Afterwards, the `state_dict` no longer contains weights that exist only in prepared form. Returns the size in bytes
    of the weights that are in memory twice (see `KernelLayer.bind`).
    """
    with torch.no_grad():
        return sum(layer.bind(kernels) for layer in list(network.modules()) if isinstance(layer, KernelLayer))
