"""Copies batches to the training device, and sums results on it.

CUDA runs asynchronously, so the host must wait whenever it reads a value (`item`, `cpu`, a boolean index). This module
reads values from the device only once per step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from app.training.loop.batches import Batch
from app.training.loop.objective import BatchLoss


def to_device(batch: Batch, device: str) -> Batch:
    """Copy the tensors of a batch to the device. On the CPU, return the batch itself."""
    if device == "cpu":
        return batch

    def copy(tensor: Tensor) -> Tensor:
        # Only a copy from pinned memory is asynchronous; any other copy makes the host wait.
        return tensor.pin_memory().to(device, non_blocking=True)

    learned_N = None if batch.learned_N is None else copy(batch.learned_N)
    return Batch(copy(batch.inputs), copy(batch.lengths_B), copy(batch.targets), learned_N)


def prefetch(batches: Iterable[Batch], device: str) -> Iterator[Batch]:
    """Yield each batch as a copy on the device.

    The copy of the next batch is started before the current batch is yielded. Later batches are not copied yet, so
    memory use does not grow with the number of batches.
    """
    upcoming: Batch | None = None
    for batch in batches:
        current, upcoming = upcoming, to_device(batch, device)
        if current is not None:
            yield current
    if upcoming is not None:
        yield upcoming


class Sums:
    """Sums the losses and correct predictions of several batches on the device."""

    def __init__(self, device: str) -> None:
        # Python floats have 64 bits, so float64 gives the same sum as adding the losses on the host.
        self._loss = torch.zeros((), dtype=torch.float64, device=device)
        self._correct = torch.zeros((), dtype=torch.int64, device=device)

    def add(self, measured: BatchLoss) -> None:
        """Add a batch, without waiting for the device."""
        self._loss += measured.loss.detach()
        self._correct += measured.correct

    def read(self, *others: Tensor) -> list[float]:
        """Return the loss, the number of correct predictions, and other scalars, in one transfer. Waits for the
        device.
        """
        return torch.stack([value.double() for value in (self._loss, self._correct, *others)]).tolist()
