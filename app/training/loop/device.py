"""Copies batches to the training device, and sums results on it.

CUDA runs asynchronously, so the host must wait whenever it reads a value (`item`, `cpu`, a boolean index). Therefore, a
copied batch keeps the original for computations on the host, and this module reads values from the device only once per
step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from app.training.loop.batches import Batch
from app.training.loop.objective import BatchLoss
from models.transfer import copy_to


def to_device(batch: Batch, device: str) -> Batch:
    """Return a copy of a batch on the device or, if the device is the CPU, the batch itself."""
    if device == "cpu":
        return batch
    inputs, lengths_B, targets = (copy_to(each, device) for each in (batch.inputs, batch.lengths_B, batch.targets))
    learned_N = None if batch.learned_N is None else copy_to(batch.learned_N, device)
    return Batch(inputs, lengths_B, targets, learned_N, batch)


def replace_tokens(batch: Batch, chosen_BT: Tensor, token: int) -> Batch:
    """Return the batch with the chosen tokens replaced, on its device and the host. `chosen_BT` must be on the host."""
    chosen = copy_to(chosen_BT, batch.inputs.device)
    host = None if batch.host is None else replace_tokens(batch.host, chosen_BT, token)
    return replace(batch, inputs=batch.inputs.masked_fill(chosen, token), host=host)


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
        """Return the loss, the number of correct predictions, and the scalars `others`, in one transfer. Waits for the
        device.
        """
        return torch.stack([value.double() for value in (self._loss, self._correct, *others)]).tolist()
