"""The training loss of each task. Losses are summed, so those of the pieces of a batch add up to that of the batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from app.training.loop.batches import Batch
from models.interface import Context
from models.tasks import Classifier, LanguageModel

TaskNetwork = LanguageModel | Classifier


@dataclass(frozen=True, slots=True)
class BatchLoss:
    """The summed loss of a batch, and how many of its `count` predictions are correct.

    The mean loss is `loss` divided by `Objective.weight`. `loss` and `correct` stay on the device, so the host waits
    only when it reads them.
    """

    loss: Tensor
    correct: Tensor
    count: int


class Objective(Protocol):
    """The loss of one kind of task. Calling it runs the network on a batch, which must be on the network's device."""

    def weight(self, batch: Batch) -> float:
        """The number or total weight of the targets, by which to divide the summed loss. The batch is on the CPU."""
        ...

    def __call__(self, batch: Batch) -> BatchLoss: ...


class NextToken:
    """Cross-entropy of the next token, summed over the steps that have a target (see `Batch.of_text`)."""

    def __init__(self, network: LanguageModel, smoothing: float) -> None:
        self.network, self.smoothing = network, smoothing

    def weight(self, batch: Batch) -> float:
        return float(len(_learned(batch)))

    def __call__(self, batch: Batch) -> BatchLoss:
        learned_N = _learned(batch)
        hidden_BTD = self.network.dropout(self.network(batch.inputs, Context(batch.lengths_B)))
        hidden_ND, targets_N = hidden_BTD.flatten(0, 1), batch.targets.flatten()
        # Each step has one logit per token of the vocabulary, so logits are computed only for steps with a target: all
        # steps in windows of a text, but only the learned tokens in completions.
        if len(learned_N) < len(targets_N):
            hidden_ND, targets_N = hidden_ND.index_select(0, learned_N), targets_N[learned_N]
        logits_NV = self.network.logits(hidden_ND).float()
        loss = functional.cross_entropy(logits_NV, targets_N, reduction="sum", label_smoothing=self.smoothing)
        with torch.no_grad():
            correct = (logits_NV.argmax(1) == targets_N).sum()
        return BatchLoss(loss, correct, len(learned_N))


def _learned(batch: Batch) -> Tensor:
    assert batch.learned_N is not None, "a batch for next-token prediction is made by Batch.of_text"
    return batch.learned_N


class Classes:
    """Cross-entropy of one label per row. `weights` contains the weight of each label."""

    def __init__(self, network: Classifier, weights: list[float] | None, smoothing: float) -> None:
        self.network, self.smoothing = network, smoothing
        self._host_weights_C = None if weights is None else torch.tensor(weights)
        self._weights_C = _on_device_of(network, self._host_weights_C)

    def weight(self, batch: Batch) -> float:
        weights_C = self._host_weights_C
        return float(len(batch.targets)) if weights_C is None else float(weights_C[batch.targets].sum())

    def __call__(self, batch: Batch) -> BatchLoss:
        logits_BC = self.network(batch.inputs, batch.lengths_B).float()
        loss = functional.cross_entropy(
            logits_BC, batch.targets, self._weights_C, reduction="sum", label_smoothing=self.smoothing
        )
        correct = (logits_BC.detach().argmax(1) == batch.targets).sum()
        return BatchLoss(loss, correct, len(batch.targets))


class Labels:
    """Binary cross-entropy for any number of labels per row. There is one prediction for every label of every row.

    `weights` contains the weight of each label in rows that have the label. Smoothing moves targets towards 0.5.
    """

    def __init__(self, network: Classifier, weights: list[float] | None, smoothing: float) -> None:
        self.network, self.smoothing = network, smoothing
        self._weights_C = _on_device_of(network, None if weights is None else torch.tensor(weights))

    def weight(self, batch: Batch) -> float:
        return float(batch.targets.numel())

    def __call__(self, batch: Batch) -> BatchLoss:
        logits_BC = self.network(batch.inputs, batch.lengths_B).float()
        targets_BC = batch.targets.float()
        smooth_BC = targets_BC * (1.0 - self.smoothing) + 0.5 * self.smoothing
        loss = functional.binary_cross_entropy_with_logits(
            logits_BC, smooth_BC, pos_weight=self._weights_C, reduction="sum"
        )
        correct = ((logits_BC.detach() >= 0) == (targets_BC > 0.5)).sum()
        return BatchLoss(loss, correct, batch.targets.numel())


class Values:
    """Squared error of one value per row, in standardised units: an error of 1 is one standard deviation.

    No prediction counts as correct.
    """

    def __init__(self, network: Classifier) -> None:
        self.network = network

    def weight(self, batch: Batch) -> float:
        return float(len(batch.targets))

    def __call__(self, batch: Batch) -> BatchLoss:
        values_B1 = self.network(batch.inputs, batch.lengths_B).float()
        loss = functional.mse_loss(values_B1[:, 0], batch.targets.float(), reduction="sum")
        return BatchLoss(loss, torch.zeros((), dtype=torch.int64, device=loss.device), len(batch.targets))


def _on_device_of(network: Classifier, weights_C: Tensor | None) -> Tensor | None:
    return None if weights_C is None else weights_C.to(next(network.parameters()).device)


def build_objective(
    network: TaskNetwork, class_weights: list[float] | None = None, smoothing: float = 0.0
) -> Objective:
    """The objective for the task of the network.

    `smoothing` is the amount of label smoothing (Szegedy et al., 2016, section 7).
    """
    if isinstance(network, LanguageModel):
        return NextToken(network, smoothing)
    if network.config.task == "regression":
        return Values(network)
    return (Labels if network.config.task == "multilabel" else Classes)(network, class_weights, smoothing)
