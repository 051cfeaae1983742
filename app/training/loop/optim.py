"""The optimizers of the network and of its n-gram branch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

from app.training.loop import muon
from app.training.plan.config import Settled
from models.adapters import is_adapter
from models.config import ModelConfig
from models.parameters import in_branch, is_body_matrix

Moments = dict[str, Tensor]  # the state of the optimizer for one parameter


@dataclass(frozen=True, slots=True)
class Group:
    """Parameters with the same weight decay and learning rate.

    `rate` is the learning rate, relative to that of the run. `blocks` contains, for every parameter, the number of
    blocks that Muon orthogonalises separately. `blocks` is None for parameters that are trained with AdamW.
    """

    parameters: list[nn.Parameter]
    weight_decay: float
    blocks: list[int] | None = None
    rate: float = 1.0


class Optimizer(ABC):
    """An optimizer based on the functions of `torch.optim`.

    The classes of `torch.optim` are not used, because creating an instance imports torch's compiler, which takes more
    than a second at the start of each trainer.
    """

    def __init__(self, groups: list[Group]) -> None:
        self.groups = groups
        self._parameters = [parameter for group in groups for parameter in group.parameters]
        self._moments: dict[nn.Parameter, Moments] = {parameter: {} for parameter in self._parameters}

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Update every parameter that has a gradient, then release all gradients. `rate` is the learning rate."""
        gradients = {parameter: parameter.grad for parameter in self._parameters if parameter.grad is not None}
        for group in self.groups:
            self._advance(group, gradients, rate * group.rate)
        for parameter in self._parameters:
            parameter.grad = None

    def _advance(self, group: Group, gradients: dict[nn.Parameter, Tensor], rate: float) -> None:
        parameters = [parameter for parameter in group.parameters if parameter in gradients]
        moments = [self._moments[parameter] for parameter in parameters]
        self._step(parameters, [gradients[p] for p in parameters], moments, rate, group.weight_decay)

    @abstractmethod
    def _step(
        self, parameters: list[nn.Parameter], gradients: list[Tensor], moments: list[Moments], rate: float, decay: float
    ) -> None: ...

    def moments(self) -> dict[str, Tensor]:
        """Return the state of all parameters, keyed by `<parameter number>.<name>`. Empty before the first step."""
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


class Muon(AdamW):
    """Muon for the groups that have `blocks`, and AdamW for all other groups."""

    def _advance(self, group: Group, gradients: dict[nn.Parameter, Tensor], rate: float) -> None:
        if group.blocks is None:
            return super()._advance(group, gradients, rate)
        for parameter, blocks in zip(group.parameters, group.blocks, strict=True):
            if (gradient := gradients.get(parameter)) is None:
                continue
            state = self._moments[parameter]
            if not state:
                state["momentum"] = torch.zeros_like(parameter)
            step = muon.direction(gradient, state["momentum"], blocks)
            parameter.mul_(1.0 - rate * group.weight_decay).sub_(step, alpha=rate)


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
    """AdaGrad (Duchi et al., 2011) for a table with a sparse gradient, with one learning rate per row.

    Only the rows of n-grams that occur in the batch are updated, so the cost of a step does not depend on the size of
    the table. For vectors, there is one learning rate per value.
    """

    def _step(
        self, parameters: list[nn.Parameter], gradients: list[Tensor], moments: list[Moments], rate: float, decay: float
    ) -> None:
        for parameter, gradient, state in zip(parameters, gradients, moments, strict=True):
            if not state:
                state["sum"] = torch.full((len(parameter),), 1e-8, device=parameter.device)
            if gradient.is_sparse:  # on an accelerator, the host waits for the number of distinct rows
                _update_rows(parameter, gradient.coalesce(), state["sum"], rate)
            else:
                state["sum"] += gradient.square()
                parameter.add_(gradient * state["sum"].rsqrt(), alpha=-rate)


def _update_rows(table_RC: Tensor, gradient: Tensor, sums_R: Tensor, rate: float) -> None:
    rows_N, values_NC = gradient.indices()[0], gradient.values()
    sums_N = sums_R.index_add_(0, rows_N, values_NC.square().sum(1))[rows_N]
    table_RC.index_add_(0, rows_N, values_NC * sums_N.rsqrt()[:, None], alpha=-rate)


def build_for_branch(network: nn.Module) -> RowAdagrad:
    """Create the optimizer for the n-gram branch. Without a branch, the optimizer has no parameters."""
    branch = [parameter for name, parameter in network.named_parameters() if in_branch(name)]
    return RowAdagrad([Group(branch, 0.0)])


def build(network: nn.Module, settled: Settled) -> Optimizer:
    """Create the optimizer for all parameters outside the n-gram branch.

    Weight decay applies to matrices, but not to gains, biases and embeddings. Embeddings are excluded because most of
    their rows get no gradient in a step.
    """
    body: list[nn.Parameter] = []
    blocks: list[int] = []
    others: dict[tuple[bool, float], list[nn.Parameter]] = {(True, 1.0): [], (False, 1.0): []}
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad or in_branch(name):
            continue
        if settled.optimizer == "muon" and is_body_matrix(name, parameter.ndim) and not is_adapter(name):
            body.append(parameter)
            blocks.append(_blocks(name, parameter, settled.config))
            continue
        decayed = parameter.ndim >= 2 and not name.startswith("input.embedding")
        rate = settled.head_rate if name.startswith(HEAD) else 1.0
        others.setdefault((decayed, rate), []).append(parameter)
    groups = [Group(body, settled.weight_decay, blocks)]
    groups += [Group(each, settled.weight_decay * decayed, rate=rate) for (decayed, rate), each in others.items()]
    return _KINDS[settled.optimizer]([group for group in groups if group.parameters])


HEAD = ("head.", "head_layers.", "head_norm.", "pooling.")  # parameters with the learning rate `head_rate`
_KINDS: dict[str, type[Optimizer]] = {"adamw": AdamW, "sgd": SGD, "muon": Muon}


def _blocks(name: str, parameter: nn.Parameter, config: ModelConfig) -> int:
    """Return how many matrices the parameter combines, for example one per gate of a recurrent layer."""
    if name.startswith("body.rnn."):
        return len(parameter) // config.width
    if name.endswith("attention.qkv.weight"):
        return 3 if config.groups == config.heads else config.heads + 2 * config.groups
    return 2 if name.endswith("mlp.up.weight") and config.gated else 1
