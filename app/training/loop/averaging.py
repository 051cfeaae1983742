"""An exponential moving average of the weights, which usually generalises better than the latest weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from models.parameters import in_branch
from models.tasks import TaskNetwork


class AveragedWeights:
    """The moving average of a network's parameters. With a decay of 0, averaging is disabled."""

    def __init__(self, network: TaskNetwork, decay: float) -> None:
        self._network, self._decay = network, decay
        self.tensors: dict[str, Tensor] = {}
        if decay:
            self.tensors = {name: parameter.detach().clone() for name, parameter in self._averaged()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Add the weights that result from the given step (counted from 0) to the average.

        The decay factor is smaller in early steps, so that the influence of the random initial weights quickly
        vanishes.
        """
        if not self.tensors:
            return
        decay = min(self._decay, (1.0 + step) / (10.0 + step))
        pairs = [(self.tensors[name], p.detach()) for name, p in self._averaged()]
        torch._foreach_lerp_([average for average, _ in pairs], [latest for _, latest in pairs], 1.0 - decay)

    def _averaged(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield the parameters to average. The n-gram branch is excluded, because only a few of its rows change in a
        step.
        """
        return ((name, parameter) for name, parameter in self._network.named_parameters() if not in_branch(name))

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Context manager that uses the averaged weights within the block and then restores the latest weights."""
        own = {name: parameter.data for name, parameter in self._network.named_parameters()}
        try:
            self._assign(self.tensors)
            yield
        finally:
            self._assign(own)

    def _assign(self, tensors: dict[str, Tensor]) -> None:
        # Only `data` is replaced. The parameters must remain the same objects: they are the keys of the moments.
        for name, parameter in self._network.named_parameters():
            parameter.data = tensors.get(name, parameter.data)
