"""The optimiser and the learning rate. Knows parameters and progress from 0 to 1; knows no clock and no data."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from app.training.config import Settled


def build(network: nn.Module, settled: Settled) -> torch.optim.Optimizer:
    """Matrices decay; gains, biases and embeddings do not: most rows of an embedding are not met in a step."""
    decayed: list[nn.Parameter] = []
    kept: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            matrix = parameter.ndim >= 2 and not name.startswith("input.embedding")
            (decayed if matrix else kept).append(parameter)
    groups = [{"params": decayed, "weight_decay": settled.weight_decay}, {"params": kept, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    if settled.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=settled.learning_rate, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(groups, lr=settled.learning_rate, betas=(0.9, 0.98), eps=1e-8, fused=True)


def learning_rate(settled: Settled, progress: float) -> float:
    """Linear warm-up, then a cosine or a line down to a hundredth, or a constant."""
    warmup, peak = settled.warmup_ratio, settled.learning_rate
    if progress < warmup:
        return peak * max(progress / warmup, 0.01)
    if settled.schedule == "constant" or warmup >= 1:
        return peak
    rest = min(1.0, (progress - warmup) / (1.0 - warmup))
    falling = 0.5 * (1.0 + math.cos(math.pi * rest)) if settled.schedule == "cosine" else 1.0 - rest
    return peak * (0.01 + 0.99 * falling)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def moments(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's memory, by the place of each parameter. Empty before the first step."""
    flat = {}
    for index, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            if isinstance(value, Tensor):
                flat[f"{index}.{name}"] = value
    return flat


def restore(optimizer: torch.optim.Optimizer, flat: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in flat.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
