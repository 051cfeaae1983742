"""The compute modes that an engine can use: those of `models/kernels`, and OpenVINO if it is installed."""

from __future__ import annotations

from typing import Any

import torch

from app.engine import openvino_body
from models.kernels import modes
from models.kernels.choice import PLAIN
from models.kernels.modes import ComputeMode

GAIN = 1.1  # minimum speedup of another mode or type, because measurements are noisy
OPENVINO_GAIN = 1.2  # minimum speedup of OpenVINO, which needs memory for its copies of the weights


def least_gain(mode: ComputeMode) -> float:
    """Return the minimum speedup over the usual mode that is required to choose this mode."""
    return OPENVINO_GAIN if mode.kernel == openvino_body.KERNEL else GAIN


def can_be_shared(mode: ComputeMode) -> bool:
    """Whether the rows of a call can have different adapters. OpenVINO computes whole bodies, without adapters."""
    return mode.kernel != openvino_body.KERNEL


def supported_modes(device: torch.device, network: Any, *, generates: bool) -> list[ComputeMode]:
    """Return the modes that this machine supports for a network."""
    supported = modes.supported_modes(device, network, generates=generates)
    if openvino_body.supports(device, network.config, getattr(network, "body", None)):
        supported += [ComputeMode(mode.type, openvino_body.KERNEL) for mode in supported if mode.kernel == PLAIN]
    return supported


def set_mode(network: Any, mode: ComputeMode, device: torch.device, threads: int = 1) -> int:
    """Switch a float32 network to this mode, for inference only, with at most `threads` calls in parallel.

    Returns the size of the weights in memory, in bytes. Raises RuntimeError if the mode does not work.
    """
    if mode.kernel != openvino_body.KERNEL:
        return modes.set_mode(network, mode, device)
    compiled = openvino_body.OpenVinoBody(network, mode.dtype, threads)
    network.body = compiled
    return compiled.nbytes + modes.set_mode(network, ComputeMode(mode.type, PLAIN), device)
