"""Writes the errors of the final weights on the validation data, by which trials of one job are compared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.training.loop.evaluate import EvaluationSplit, outputs_of, text_losses
from app.training.loop.progress import sync
from models.tasks import LanguageModel, TaskNetwork

Errors = NDArray[np.float32]


def write(path: Path, network: TaskNetwork, split: EvaluationSplit, check: Callable[[], None]) -> None:
    """Write the errors as a .npy file of float32, shape (N,). `check` is called between batches and may raise.

    One value per row: 0 or 1 for classification, the share of wrong labels for multilabel, the squared error of the
    standardised value for regression. For generation, one value per batch of held-out text, in nats per token; their
    mean is the loss.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        np.save(file, _errors(network, split, check), allow_pickle=False)
    sync(temporary)
    temporary.replace(path)


def _errors(network: TaskNetwork, split: EvaluationSplit, check: Callable[[], None]) -> Errors:
    if isinstance(network, LanguageModel):
        sums_B, counts_B = text_losses(network, split, check)
        # Batches differ in size. The linearised ratio of the sums keeps the mean and the standard error right (Cochran,
        # Sampling Techniques, 1977, section 6.3).
        loss = sums_B.sum() / counts_B.sum()
        return np.asarray(loss + (sums_B - loss * counts_B) / counts_B.mean(), dtype=np.float32)
    return of_rows(split.facts.task, *outputs_of(network, split, check))


def of_rows(task: str, outputs_NC: NDArray[np.float64], targets: NDArray[Any]) -> Errors:
    """The error of each row; `targets` is as in `Rows.targets_N`."""
    if task == "regression":
        errors = (outputs_NC[:, 0] - targets) ** 2
    elif task == "multilabel":
        errors = ((outputs_NC >= 0) != (targets > 0)).mean(1)
    else:
        errors = outputs_NC.argmax(1) != targets
    return np.asarray(errors, dtype=np.float32)
