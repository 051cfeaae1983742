"""Chooses the kernels for a network, once, when it is loaded."""

from __future__ import annotations

import torch
from torch import nn

from models.kernels import onednn
from models.kernels.port import KernelLayer, Kernels

KERNELS: tuple[Kernels, ...] = (onednn,)  # the first that supports device and dtype is used


def choose(device: torch.device, dtype: torch.dtype) -> Kernels | None:
    """Return the kernels for decoding with weights of this dtype on this device, or None for PyTorch's, as in
    training."""
    return next((kernels for kernels in KERNELS if kernels.supports(device, dtype)), None)


def bind(network: nn.Module, kernels: Kernels) -> int:
    """Make every layer of `network` compute with `kernels`, in place and for inference only.

    The `state_dict` no longer holds weights that exist only in prepared form. Returns the bytes of the weights that
    are held twice (see `KernelLayer.bind`).
    """
    with torch.no_grad():
        return sum(layer.bind(kernels) for layer in list(network.modules()) if isinstance(layer, KernelLayer))
