"""What is made small: the loss of a batch, summed, so that pieces of a batch add up to it exactly.

Knows logits and targets of each task; knows no optimiser and no data set.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from app.training.loop.batches import IGNORED, Batch
from models.interface import Context
from models.tasks import Classifier, LanguageModel


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of a batch: the loss summed (divide by `Objective.weight`), how many predictions are right, and of how many."""

    loss: Tensor
    correct: Tensor
    count: int


class Objective(Protocol):
    def weight(self, batch: Batch) -> float: ...

    def __call__(self, batch: Batch) -> Outcome: ...


class NextToken:
    """Cross-entropy of the next token, where there is one to learn."""

    def __init__(self, network: LanguageModel, smoothing: float) -> None:
        self.network, self.smoothing = network, smoothing

    def weight(self, batch: Batch) -> float:
        return float((batch.targets != IGNORED).sum())

    def __call__(self, batch: Batch) -> Outcome:
        hidden_BTD = self.network.dropout(self.network(batch.inputs, Context(batch.lengths_B)))
        counted_BT = batch.targets != IGNORED
        targets_N = batch.targets[counted_BT]
        logits_NV = self.network.logits(hidden_BTD[counted_BT]).float()
        loss = functional.cross_entropy(logits_NV, targets_N, reduction="sum", label_smoothing=self.smoothing)
        with torch.no_grad():
            correct = (logits_NV.argmax(1) == targets_N).sum()
        return Outcome(loss, correct, len(targets_N))


class Classes:
    """Cross-entropy of one label a row."""

    def __init__(self, network: Classifier, weights_C: Tensor | None, smoothing: float) -> None:
        self.network, self.weights_C, self.smoothing = network, weights_C, smoothing

    def weight(self, batch: Batch) -> float:
        weights_C = self.weights_C
        return float(len(batch.targets)) if weights_C is None else float(weights_C[batch.targets].sum())

    def __call__(self, batch: Batch) -> Outcome:
        logits_BC = self.network(batch.inputs, batch.lengths_B).float()
        loss = functional.cross_entropy(
            logits_BC, batch.targets, self.weights_C, reduction="sum", label_smoothing=self.smoothing
        )
        correct = (logits_BC.detach().argmax(1) == batch.targets).sum()
        return Outcome(loss, correct, len(batch.targets))


class Labels:
    """Binary cross-entropy of any number of labels a row, the mean over the labels."""

    def __init__(self, network: Classifier, weights_C: Tensor | None, smoothing: float) -> None:
        self.network, self.weights_C, self.smoothing = network, weights_C, smoothing

    def weight(self, batch: Batch) -> float:
        return float(batch.targets.numel())

    def __call__(self, batch: Batch) -> Outcome:
        logits_BC = self.network(batch.inputs, batch.lengths_B).float()
        targets_BC = batch.targets.float()
        smooth_BC = targets_BC * (1.0 - self.smoothing) + 0.5 * self.smoothing
        loss = functional.binary_cross_entropy_with_logits(
            logits_BC, smooth_BC, pos_weight=self.weights_C, reduction="sum"
        )
        correct = ((logits_BC.detach() >= 0) == (targets_BC > 0.5)).sum()
        return Outcome(loss, correct, batch.targets.numel())


class Values:
    """Squared error of one value a row, in units of the targets' spread."""

    def __init__(self, network: Classifier) -> None:
        self.network = network

    def weight(self, batch: Batch) -> float:
        return float(len(batch.targets))

    def __call__(self, batch: Batch) -> Outcome:
        values_B1 = self.network(batch.inputs, batch.lengths_B).float()
        loss = functional.mse_loss(values_B1[:, 0], batch.targets.float(), reduction="sum")
        return Outcome(loss, torch.zeros((), dtype=torch.int64), len(batch.targets))


def objective(
    network: LanguageModel | Classifier, weights_C: Tensor | None = None, smoothing: float = 0.0
) -> Objective:
    if isinstance(network, LanguageModel):
        return NextToken(network, smoothing)
    if network.config.task == "regression":
        return Values(network)
    return (Labels if network.config.task == "multilabel" else Classes)(network, weights_C, smoothing)
