"""Copies batches to the training device, and sums results on it.

CUDA runs asynchronously: the host waits whenever it reads a value (`item`, `cpu`, a boolean index). This module reads
values once per step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from app.training.loop.batches import Batch
from app.training.loop.objective import BatchLoss


def to_device(batch: Batch, device: str) -> Batch:
    """Copy the tensors of a batch to the device; on the CPU, the batch itself."""
    if device == "cpu":
        return batch

    def copy(tensor: Tensor) -> Tensor:
        # Only copies from pinned memory run beside the device's work; others make the host wait.
        return tensor.pin_memory().to(device, non_blocking=True)

    learned_N = None if batch.learned_N is None else copy(batch.learned_N)
    return Batch(copy(batch.inputs), copy(batch.lengths_B), copy(batch.targets), learned_N)


def prefetch(batches: Iterable[Batch], device: str) -> Iterator[Batch]:
    """Yield each batch on the device. The copy of the next batch is started first, but no further one, so at most two
    pieces are in memory, however many a step has."""
    upcoming: Batch | None = None
    for batch in batches:
        current, upcoming = upcoming, to_device(batch, device)
        if current is not None:
            yield current
    if upcoming is not None:
        yield upcoming


class Sums:
    """Losses and correct predictions of several batches, summed on the device."""

    def __init__(self, device: str) -> None:
        # float64 adds float32 losses as Python's floats do, so the sum does not depend on where it is taken.
        self._loss = torch.zeros((), dtype=torch.float64, device=device)
        self._correct = torch.zeros((), dtype=torch.int64, device=device)

    def add(self, measured: BatchLoss) -> None:
        """Add a batch, without waiting for the device."""
        self._loss += measured.loss.detach()
        self._correct += measured.correct

    def read(self, *others: Tensor) -> list[float]:
        """The loss, the correct predictions and other scalars, in one transfer: the host waits for the device."""
        return torch.stack([value.double() for value in (self._loss, self._correct, *others)]).tolist()
