"""One version's predictions for the evaluated rows: probabilities, labels, and whether they are correct."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.training.calibration.reliability import answers
from app.training.loop.evaluate import measure
from app.training.prepare.dataset import Facts


@dataclass(frozen=True, slots=True)
class Scores:
    """Predictions for N rows.

    In classification, `probabilities_NC` has a column per label; labels that the version does not have get a
    probability of 0. In regression, `values_N` is in the units of the data. `losses_N` contains the negative
    log-probability of the true labels, or the squared error. `correct_N` is None for regression.
    """

    labels: list[str]
    targets_N: NDArray[Any]
    probabilities_NC: NDArray[np.float64] | None
    values_N: NDArray[np.float64] | None
    losses_N: NDArray[np.float64]
    correct_N: NDArray[np.bool_] | None

    @property
    def task(self) -> str:
        return "regression" if self.values_N is not None else ["classification", "multilabel"][self.targets_N.ndim - 1]

    def confidence(self, row: int) -> float:
        """Return the score of a row's answer, with which the service compares thresholds."""
        assert self.probabilities_NC is not None
        own = slice(row, row + 1)
        return float(answers(self.task, self.probabilities_NC[own], self.targets_N[own])[0][0])

    def predicted(self, row: int) -> list[str]:
        """Return the labels predicted for a row."""
        assert self.probabilities_NC is not None
        if self.targets_N.ndim > 1:
            return [self.labels[index] for index in np.flatnonzero(self.probabilities_NC[row] >= 0.5)]
        return [self.labels[int(self.probabilities_NC[row].argmax())]]

    def true(self, row: int) -> list[str]:
        """Return the labels that a row has in the data."""
        if self.targets_N.ndim > 1:
            return [self.labels[index] for index in np.flatnonzero(self.targets_N[row])]
        return [self.labels[int(self.targets_N[row])]]


def widen(outputs_NC: NDArray[np.float64], labels: int) -> NDArray[np.float64]:
    """Add a logit of minus infinity for each label that the version does not have."""
    missing = labels - outputs_NC.shape[1]
    return np.pad(outputs_NC, ((0, 0), (0, max(0, missing))), constant_values=-np.inf)


def score(facts: Facts, labels: list[str], outputs_NC: NDArray[np.float64], targets_N: NDArray[Any]) -> Scores:
    """Convert a network's outputs to predictions."""
    if facts.task == "regression":
        scale = facts.target or {"mean": 0.0, "std": 1.0}
        values_N = outputs_NC[:, 0] * scale["std"] + scale["mean"]
        true_N = targets_N.astype(np.float64) * scale["std"] + scale["mean"]
        return Scores([], true_N, None, values_N, (values_N - true_N) ** 2, None)
    logits_NC = widen(outputs_NC, len(labels))
    if facts.task == "multilabel":
        probabilities_NC = 1.0 / (1.0 + np.exp(-np.clip(logits_NC, -700.0, 700.0)))
        right_NC = np.where(targets_N > 0, probabilities_NC, 1.0 - probabilities_NC)
        losses_N = -np.log(np.maximum(right_NC, 1e-300)).sum(1)
        correct_N = ((probabilities_NC >= 0.5) == (targets_N > 0)).all(1)
    else:
        shifted_NC = np.exp(logits_NC - logits_NC.max(1, keepdims=True))
        probabilities_NC = shifted_NC / shifted_NC.sum(1, keepdims=True)
        losses_N = -np.log(np.maximum(probabilities_NC[np.arange(len(targets_N)), targets_N], 1e-300))
        correct_N = probabilities_NC.argmax(1) == targets_N
    return Scores(labels, targets_N, probabilities_NC, None, losses_N, correct_N)


def metrics_of(
    facts: Facts, labels: list[str], outputs_NC: NDArray[np.float64], targets_N: NDArray[Any]
) -> dict[str, Any]:
    """Return the metrics of a version's outputs.

    Rows with labels that the version does not have are left out of the loss, because their loss would be infinite. The
    number of the other rows is then added as `loss_rows`. If there are none, the loss is None.
    """
    columns = outputs_NC.shape[1]
    if facts.task == "regression" or columns >= len(labels):
        return measure(facts, outputs_NC, targets_N)
    with np.errstate(invalid="ignore"):
        metrics = measure(facts, widen(outputs_NC, len(labels)), targets_N)
    covered_N = covered_rows(targets_N, columns)
    covered_facts = Facts(facts.task, facts.input, facts.shape, labels=labels[:columns])
    targets_N = targets_N if targets_N.ndim == 1 else targets_N[:, :columns]
    loss = measure(covered_facts, outputs_NC[covered_N], targets_N[covered_N])["loss"] if covered_N.any() else None
    return metrics | {"loss": loss} | ({} if covered_N.all() else {"loss_rows": int(covered_N.sum())})


def covered_rows(targets_N: NDArray[Any], labels: int) -> NDArray[np.bool_]:
    """Return a mask of the rows that have only labels of the version, which are the first `labels` labels."""
    if targets_N.ndim == 1:
        return np.asarray(targets_N < labels)
    return np.asarray(~targets_N[:, labels:].any(1))
