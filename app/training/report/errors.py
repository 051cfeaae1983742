"""Writes the validation errors of the final weights, for comparing the trials of a job."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.training.loop.evaluate import EvaluationSplit, text_losses
from app.training.loop.progress import sync
from models.tasks import LanguageModel

RowErrors = NDArray[np.float32]


def write(path: Path, errors: RowErrors) -> None:
    """Write the errors to a .npy file as float32, with shape (N,)."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        np.save(file, errors, allow_pickle=False)
    sync(temporary)
    temporary.replace(path)


def of_text(network: LanguageModel, split: EvaluationSplit, check: Callable[[], None]) -> RowErrors:
    """Return one value per batch of held-out text, in nats per token. The mean of these values is the loss.

    `check` is called between batches and may raise an exception.
    """
    sums_B, counts_B = text_losses(network, split, check)
    # Batches differ in size. The linearised ratio of the sums gives a correct mean and standard error (Cochran,
    # Sampling Techniques, 1977, section 6.3).
    loss = sums_B.sum() / counts_B.sum()
    return np.asarray(loss + (sums_B - loss * counts_B) / counts_B.mean(), dtype=np.float32)


def of_rows(task: str, outputs_NC: NDArray[np.float64], targets: NDArray[Any]) -> RowErrors:
    """Return one error per row; `targets` is as in `Rows.targets_N`.

    The error is 0 or 1 for classification, the share of wrong labels for multilabel, and the squared error of the
    standardised value for regression.
    """
    if task == "regression":
        errors = (outputs_NC[:, 0] - targets) ** 2
    elif task == "multilabel":
        errors = ((outputs_NC >= 0) != (targets > 0)).mean(1)
    else:
        errors = outputs_NC.argmax(1) != targets
    return np.asarray(errors, dtype=np.float32)
