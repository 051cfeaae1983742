"""Copies of one slot's state, which can be cut at any position and joined again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Layers = tuple[tuple[Tensor, ...], ...]
Axes = tuple[tuple[int | None, ...], ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A copy of one slot's state after `position` steps.

    Growing tensors contain the positions from `start` to `position`. `axes` contains, for each tensor, the dimension
    that has one entry per position, or None for a fixed tensor.
    """

    layers: Layers
    position: int
    axes: Axes
    start: int = 0

    @property
    def nbytes(self) -> int:
        """The size of the tensors in bytes."""
        return sum(tensor.nbytes for layer in self.layers for tensor in layer)

    def cut(self, start: int, stop: int) -> Snapshot:
        """Copy the positions from `start` to `stop`.

        If `stop` is before the last position, the fixed tensors of the copy are empty, because their values at `stop`
        are not known.
        """
        layers = tuple(
            tuple(self._part(tensor, axis, start, stop) for tensor, axis in zip(tensors, axes, strict=True))
            for tensors, axes in zip(self.layers, self.axes, strict=True)
        )
        return Snapshot(layers, stop, self.axes, start)

    def _part(self, tensor: Tensor, axis: int | None, start: int, stop: int) -> Tensor:
        if axis is not None:
            return tensor.narrow(axis, start - self.start, stop - start).clone()
        return tensor.clone() if stop == self.position else tensor.new_empty(0)


def join(parts: Sequence[Snapshot]) -> Snapshot:
    """Join the snapshots of consecutive positions. Fixed tensors are taken from the last part."""
    last = parts[-1]
    if len(parts) == 1:
        return last
    layers = tuple(
        tuple(
            last.layers[layer][i] if axis is None else torch.cat([part.layers[layer][i] for part in parts], axis)
            for i, axis in enumerate(axes)
        )
        for layer, axes in enumerate(last.axes)
    )
    return Snapshot(layers, last.position, last.axes, parts[0].start)
