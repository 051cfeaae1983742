"""The training loss of each task.

Losses are sums, so that the losses of a batch's pieces add up to the loss of the batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from app.training.loop.batches import Batch
from models.interface import Context
from models.tasks import LanguageModel, RowNetwork, TaskNetwork


@dataclass(frozen=True, slots=True)
class BatchLoss:
    """The summed loss of a batch, and how many of its `count` predictions are correct.

    The mean loss is `loss` divided by `Objective.weight`. `branch` is the loss of the n-gram branch, which is trained
    at the same time without affecting the network's gradient. All losses and `correct` remain on the device, so that
    the host waits only when it reads them.
    """

    loss: Tensor
    correct: Tensor
    count: int
    branch: Tensor | None = None

    @property
    def total(self) -> Tensor:
        """The loss to differentiate."""
        return self.loss if self.branch is None else self.loss + self.branch


class Objective(Protocol):
    """The loss for one kind of task. Calling an instance runs the network on a batch, which must be on the network's
    device.

    `train_branch` specifies whether to also run the network's n-gram branch, if any.
    """

    train_branch: bool

    def weight(self, batch: Batch) -> float:
        """Return the number or the total weight of the targets. The summed loss is divided by this value.

        The batch must be on the CPU.
        """
        ...

    def __call__(self, batch: Batch) -> BatchLoss: ...


class NextToken:
    """Cross-entropy of the next token, summed over the steps that have a target (see `Batch.of_text`)."""

    def __init__(self, network: LanguageModel, smoothing: float) -> None:
        self.network, self.smoothing = network, smoothing
        self.train_branch = False

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
    assert batch.learned_N is not None, "a batch for next-token prediction must be created with Batch.of_text"
    return batch.learned_N


class RowObjective(ABC):
    """The base class for the losses of tasks with one target per row.

    The network and its n-gram branch have separate losses, as if they were trained separately. With a joint loss, the
    branch would quickly fit the training rows, and the network would learn little. The architecture `linear` consists
    only of a branch.
    """

    def __init__(self, network: RowNetwork) -> None:
        self.network = network
        self.train_branch = True
        self._network_loss = self._branch_loss if network.config.architecture == "linear" else self._loss

    def weight(self, batch: Batch) -> float:
        """Return the number by which the summed loss is divided. The batch must be on the CPU."""
        return float(batch.targets.numel())

    def __call__(self, batch: Batch) -> BatchLoss:
        host = batch.on_host.inputs, batch.on_host.lengths_B
        first, *others = self.network.outputs(batch.inputs, batch.lengths_B, branch=self.train_branch, host=host)
        outputs = first.float()
        branch = self._branch_loss(others[0].float(), batch.targets) if others else None
        correct = self._correct(outputs.detach(), batch.targets)
        return BatchLoss(self._network_loss(outputs, batch.targets), correct, batch.targets.numel(), branch)

    @abstractmethod
    def _loss(self, outputs_BC: Tensor, targets: Tensor) -> Tensor: ...

    def _branch_loss(self, outputs_BC: Tensor, targets: Tensor) -> Tensor:
        return self._loss(outputs_BC, targets)

    @abstractmethod
    def _correct(self, outputs_BC: Tensor, targets: Tensor) -> Tensor: ...


class Classes(RowObjective):
    """Cross-entropy of one label per row. `weights` contains the weight of each label."""

    def __init__(self, network: RowNetwork, weights: list[float] | None, smoothing: float) -> None:
        super().__init__(network)
        self.smoothing = smoothing
        self._host_weights_C = None if weights is None else torch.tensor(weights)
        self._weights_C = _on_device_of(network, self._host_weights_C)

    def weight(self, batch: Batch) -> float:
        weights_C = self._host_weights_C
        return float(len(batch.targets)) if weights_C is None else float(weights_C[batch.targets].sum())

    def _loss(self, outputs_BC: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(
            outputs_BC, targets, self._weights_C, reduction="sum", label_smoothing=self.smoothing
        )

    def _branch_loss(self, outputs_BC: Tensor, targets: Tensor) -> Tensor:
        """Return the logistic loss of each label against the rest, averaged over the labels and summed over the rows.

        With n-grams, this loss generalises better than cross-entropy. Its scale is arbitrary, because AdaGrad's steps
        do not depend on it.
        """
        labels_C = torch.arange(outputs_BC.shape[1], device=targets.device)
        truth_BC = (targets[:, None] == labels_C).to(outputs_BC.dtype)
        loss_B = functional.binary_cross_entropy_with_logits(outputs_BC, truth_BC, reduction="none").mean(1)
        return (loss_B if self._weights_C is None else loss_B * self._weights_C[targets]).sum()

    def _correct(self, outputs_BC: Tensor, targets: Tensor) -> Tensor:
        return (outputs_BC.argmax(1) == targets).sum()


class Labels(RowObjective):
    """Binary cross-entropy for any number of labels per row. There is one prediction for every label of every row.

    `weights` contains the weight of each label in rows that have the label. Smoothing moves targets towards 0.5.
    """

    def __init__(self, network: RowNetwork, weights: list[float] | None, smoothing: float) -> None:
        super().__init__(network)
        self.smoothing = smoothing
        self._weights_C = _on_device_of(network, None if weights is None else torch.tensor(weights))

    def _loss(self, outputs_BC: Tensor, targets: Tensor) -> Tensor:
        smooth_BC = targets.float() * (1.0 - self.smoothing) + 0.5 * self.smoothing
        return functional.binary_cross_entropy_with_logits(
            outputs_BC, smooth_BC, pos_weight=self._weights_C, reduction="sum"
        )

    def _correct(self, outputs_BC: Tensor, targets: Tensor) -> Tensor:
        return ((outputs_BC >= 0) == (targets > 0.5)).sum()


class Values(RowObjective):
    """Squared error of one value per row, in standardised units (an error of 1 is one standard deviation).

    `correct` is always 0.
    """

    def _loss(self, outputs_BC: Tensor, targets: Tensor) -> Tensor:
        return functional.mse_loss(outputs_BC[:, 0], targets.float(), reduction="sum")

    def _correct(self, outputs_BC: Tensor, targets: Tensor) -> Tensor:
        return torch.zeros((), dtype=torch.int64, device=outputs_BC.device)


def _on_device_of(network: RowNetwork, weights_C: Tensor | None) -> Tensor | None:
    return None if weights_C is None else weights_C.to(next(network.parameters()).device)


def build_objective(
    network: TaskNetwork, class_weights: list[float] | None = None, smoothing: float = 0.0
) -> Objective:
    """Create the objective for the network's task.

    `smoothing` is the amount of label smoothing (Szegedy et al., 2016, section 7).
    """
    if isinstance(network, LanguageModel):
        return NextToken(network, smoothing)
    if network.config.task == "regression":
        return Values(network)
    return (Labels if network.config.task == "multilabel" else Classes)(network, class_weights, smoothing)
