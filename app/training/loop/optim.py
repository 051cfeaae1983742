"""The optimizer and the learning-rate schedule."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

from app.training.plan.config import Settled
from models.parameters import in_branch

Moments = dict[str, Tensor]  # the state of the optimizer for one parameter


@dataclass(frozen=True, slots=True)
class Group:
    """Parameters with the same weight decay."""

    parameters: list[nn.Parameter]
    weight_decay: float


class Optimizer(ABC):
    """An optimizer based on the functions of `torch.optim`.

    The classes of `torch.optim` are not used, because creating an instance imports torch's compiler, which would delay
    the start of each trainer by more than a second.
    """

    def __init__(self, groups: list[Group]) -> None:
        self.groups = groups
        self._parameters = [parameter for group in groups for parameter in group.parameters]
        self._moments: dict[nn.Parameter, Moments] = {parameter: {} for parameter in self._parameters}

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Update every parameter that has a gradient, then release all gradients. `rate` is the learning rate."""
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
        """The state of all parameters, keyed by `<parameter number>.<name>`. Empty before the first step."""
        parameters = enumerate(self._parameters)
        return {f"{i}.{name}": value for i, p in parameters for name, value in self._moments[p].items()}

    def restore(self, flat: dict[str, Tensor]) -> None:
        """Restore the state that `moments` returned."""
        for key, value in flat.items():
            index, name = key.split(".", 1)
            self._moments[self._parameters[int(index)]][name] = value


class AdamW(Optimizer):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019)."""

    def _step(
        self, parameters: list[nn.Parameter], gradients: list[Tensor], moments: list[Moments], rate: float, decay: float
    ) -> None:
        for parameter, state in zip(parameters, moments, strict=True):
            if not state:
                state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
                state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        adamw(
            list[Tensor](parameters),
            gradients,
            [state["exp_avg"] for state in moments],
            [state["exp_avg_sq"] for state in moments],
            [],
            [state["step"] for state in moments],
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
    """Stochastic gradient descent with Nesterov momentum."""

    def _step(
        self, parameters: list[nn.Parameter], gradients: list[Tensor], moments: list[Moments], rate: float, decay: float
    ) -> None:
        buffers = [state.get("momentum_buffer") for state in moments]
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
        for state, buffer in zip(moments, buffers, strict=True):
            assert buffer is not None  # created by the first step
            state["momentum_buffer"] = buffer


class RowAdagrad(Optimizer):
    """AdaGrad (Duchi et al., 2011) with one learning rate per row of a table whose gradient is sparse.

    Only the rows with n-grams of the batch are updated, so the cost of a step does not depend on the size of the table.
    Vectors have one learning rate per value.
    """

    def _step(
        self, parameters: list[nn.Parameter], gradients: list[Tensor], moments: list[Moments], rate: float, decay: float
    ) -> None:
        for parameter, gradient, state in zip(parameters, gradients, moments, strict=True):
            if not state:
                state["sum"] = torch.full((len(parameter),), 1e-8, device=parameter.device)
            if gradient.is_sparse:
                _update_rows(parameter, gradient.coalesce(), state["sum"], rate)
            else:
                state["sum"] += gradient.square()
                parameter.add_(gradient * state["sum"].rsqrt(), alpha=-rate)


def _update_rows(table_RC: Tensor, gradient: Tensor, sums_R: Tensor, rate: float) -> None:
    rows_N, values_NC = gradient.indices()[0], gradient.values()
    sums_N = sums_R.index_add_(0, rows_N, values_NC.square().sum(1))[rows_N]
    table_RC.index_add_(0, rows_N, values_NC * sums_N.rsqrt()[:, None], alpha=-rate)


def build_for_branch(network: nn.Module) -> RowAdagrad:
    """The optimizer of the n-gram branch, if the network has one."""
    branch = [parameter for name, parameter in network.named_parameters() if in_branch(name)]
    return RowAdagrad([Group(branch, 0.0)])


def branch_rate(settled: Settled, step: int) -> float:
    """The learning rate of the n-gram branch: a straight line from its peak to 0 at step `branch_steps`."""
    return settled.branch_learning_rate * max(0.0, 1.0 - step / max(1, settled.branch_steps))


def build(network: nn.Module, settled: Settled) -> Optimizer:
    """The optimizer of all parameters outside the n-gram branch.

    Weight decay applies to matrices, but not to gains, biases and embeddings.

    Embeddings are excluded because most of their rows do not get a gradient in a step.
    """
    decayed: list[nn.Parameter] = []
    kept: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        if parameter.requires_grad and not in_branch(name):
            matrix = parameter.ndim >= 2 and not name.startswith("input.embedding")
            (decayed if matrix else kept).append(parameter)
    groups = [Group(decayed, settled.weight_decay), Group(kept, 0.0)]
    kind = SGD if settled.optimizer == "sgd" else AdamW
    return kind([group for group in groups if group.parameters])


def learning_rate(settled: Settled, progress: float) -> float:
    """The learning rate at `progress`, which is from 0 to 1.

    After a linear warm-up, the rate either remains constant or decays to 1 % of its peak, following a cosine curve or a
    straight line.
    """
    warmup, peak = settled.warmup_ratio, settled.learning_rate
    if progress < warmup:
        return peak * max(progress / warmup, 0.01)
    if settled.schedule == "constant" or warmup >= 1:
        return peak
    rest = min(1.0, (progress - warmup) / (1.0 - warmup))
    falling = 0.5 * (1.0 + math.cos(math.pi * rest)) if settled.schedule == "cosine" else 1.0 - rest
    return peak * (0.01 + 0.99 * falling)
