"""Copies tensors from the host to the device of a network."""

from __future__ import annotations

import torch
from torch import Tensor


def copy_to(tensor: Tensor, device: torch.device | str) -> Tensor:
    """Return a copy on the device, without waiting until it is complete. For the CPU, return the tensor itself."""
    if torch.device(device).type == "cpu":
        return tensor
    # Only a copy from contiguous, pinned memory is asynchronous; any other copy makes the host wait.
    return tensor.contiguous().pin_memory().to(device, non_blocking=True)
