"""An exponential moving average of the weights, which generalises better than the weights of the last step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from app.training.loop.objective import TaskNetwork


class AveragedWeights:
    """The average of a network's parameters over the steps; with a decay of 0, the parameters themselves."""

    def __init__(self, network: TaskNetwork, decay: float) -> None:
        self._network, self._decay = network, decay
        self.tensors: dict[str, Tensor] = {}
        if decay:
            self.tensors = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after a step (from 0). Early steps decay fast, so that the initial weights, which are
        random, are soon forgotten."""
        if not self.tensors:
            return
        decay = min(self._decay, (1.0 + step) / (10.0 + step))
        pairs = [(self.tensors[name], p.detach()) for name, p in self._network.named_parameters()]
        torch._foreach_lerp_([average for average, _ in pairs], [latest for _, latest in pairs], 1.0 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The network with the averaged weights, which are the ones that are evaluated and kept."""
        own = {name: parameter.data for name, parameter in self._network.named_parameters()}
        try:
            self._assign(self.tensors)
            yield
        finally:
            self._assign(own)

    def _assign(self, tensors: dict[str, Tensor]) -> None:
        # `data` is exchanged and not copied: the optimizer's moments belong to the parameters, which stay the same.
        for name, parameter in self._network.named_parameters():
            parameter.data = tensors.get(name, parameter.data)
