"""The optimiser and the learning rate. Knows parameters and progress from 0 to 1; knows no clock and no data."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

from app.training.plan.config import Settled

Moments = dict[str, Tensor]  # what is remembered of one parameter


@dataclass(frozen=True, slots=True)
class Group:
    parameters: list[nn.Parameter]
    weight_decay: float


class Optimizer(ABC):
    """A step of `torch.optim` and its memory. The classes there load torch's compiler when the first is made, which
    takes each trainer a second and more; their functions do not."""

    def __init__(self, groups: list[Group]) -> None:
        self.groups = groups
        self._parameters = [parameter for group in groups for parameter in group.parameters]
        self._moments: dict[nn.Parameter, Moments] = {parameter: {} for parameter in self._parameters}

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Change every parameter that has a gradient, and forget the gradients."""
        for group in self.groups:
            parameters = [parameter for parameter in group.parameters if parameter.grad is not None]
            gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
            moments = [self._moments[parameter] for parameter in parameters]
            self._step(parameters, gradients, moments, rate, group.weight_decay)
        for parameter in self._parameters:
            parameter.grad = None

    @abstractmethod
    def _step(
        self, parameters: list[nn.Parameter], gradients: list[Tensor], moments: list[Moments], rate: float, decay: float
    ) -> None: ...

    def moments(self) -> dict[str, Tensor]:
        """The memory, by the place of each parameter. Empty before the first step."""
        places = enumerate(self._parameters)
        return {f"{i}.{name}": value for i, p in places for name, value in self._moments[p].items()}

    def restore(self, flat: dict[str, Tensor]) -> None:
        for key, value in flat.items():
            place, name = key.split(".", 1)
            self._moments[self._parameters[int(place)]][name] = value


class AdamW(Optimizer):
    def _step(
        self, parameters: list[nn.Parameter], gradients: list[Tensor], moments: list[Moments], rate: float, decay: float
    ) -> None:
        for parameter, known in zip(parameters, moments, strict=True):
            if not known:
                known["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
                known["exp_avg"], known["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        adamw(
            list[Tensor](parameters),
            gradients,
            [known["exp_avg"] for known in moments],
            [known["exp_avg_sq"] for known in moments],
            [],
            [known["step"] for known in moments],
            fused=True,
            amsgrad=False,
            beta1=0.9,
            beta2=0.98,
            lr=rate,
            weight_decay=decay,
            eps=1e-8,
            maximize=False,
        )


class SGD(Optimizer):
    """With Nesterov's momentum."""

    def _step(
        self, parameters: list[nn.Parameter], gradients: list[Tensor], moments: list[Moments], rate: float, decay: float
    ) -> None:
        buffers = [known.get("momentum_buffer") for known in moments]
        sgd(
            list[Tensor](parameters),
            gradients,
            buffers,
            weight_decay=decay,
            momentum=0.9,
            lr=rate,
            dampening=0.0,
            nesterov=True,
            maximize=False,
        )
        for known, buffer in zip(moments, buffers, strict=True):
            assert buffer is not None  # the first step makes it
            known["momentum_buffer"] = buffer


def build(network: nn.Module, settled: Settled) -> Optimizer:
    """Matrices decay; gains, biases and embeddings do not: most rows of an embedding are not met in a step."""
    decayed: list[nn.Parameter] = []
    kept: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            matrix = parameter.ndim >= 2 and not name.startswith("input.embedding")
            (decayed if matrix else kept).append(parameter)
    groups = [Group(decayed, settled.weight_decay), Group(kept, 0.0)]
    kind = SGD if settled.optimizer == "sgd" else AdamW
    return kind([group for group in groups if group.parameters])


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
