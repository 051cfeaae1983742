"""Computes the metrics of a network on held-out data. Every held-out token of a text is predicted exactly once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from app.training.baseline.comparison import OutputsAndTargets
from app.training.failures import Check
from app.training.loop import mixing
from app.training.loop.batches import Batch, RowBatches, held_out_windows
from app.training.loop.device import Sums, to_device
from app.training.loop.objective import build_objective
from app.training.prepare.dataset import Facts, Rows, Stream
from models.config import ModelConfig
from models.tasks import Classifier, LanguageModel, RowNetwork, TaskNetwork

EVAL_TOKENS = 16_384  # the maximum size of a batch, including padding
UNLIMITED_WINDOW = 512, 64  # tokens of a held-out text per window, and how many of these are only context
MATRIX_LABELS = 500  # with more labels, a confusion matrix would consist of megabytes of mostly zeros
Observer = Callable[[NDArray[np.float64], NDArray[Any]], None]  # called with parts_PNC and targets


@dataclass(frozen=True, slots=True)
class EvaluationSplit:
    """Held-out data, and the device to evaluate it on.

    `most` limits the number of rows or, for a text, the number of tokens; None means all. If `fits_mix` is true, the
    weights that combine the outputs of the network and its n-gram branch are first fitted on the split.
    """

    data: Rows | Stream
    facts: Facts
    device: str = "cpu"
    most: int | None = None
    fits_mix: bool = False


def evaluate(
    network: TaskNetwork, split: EvaluationSplit, check: Check = lambda: None, observe: Observer | None = None
) -> dict[str, Any]:
    """Compute the metrics of a split. `check` is called before each batch and may raise an exception.

    Except for generation, `observe` is called with the rows' targets and the outputs of each part of the network before
    they are combined. Afterwards, the network is in training mode.
    """
    if isinstance(network, LanguageModel):
        with _evaluating(network):
            return _generation(network, split, check)
    with _evaluating(network):
        outputs_NC, targets_N = _outputs(network, split, check, observe)
    return measure(split.facts, outputs_NC, targets_N)


def outputs_of(network: RowNetwork, split: EvaluationSplit, check: Check = lambda: None) -> OutputsAndTargets:
    """Compute the network's outputs for each row: logits or, for regression, standardised values."""
    with _evaluating(network):
        return _outputs(network, split, check)


def measure(facts: Facts, outputs_NC: NDArray[np.float64], targets_N: NDArray[Any]) -> dict[str, Any]:
    """Compute the metrics of the given outputs. Supports all tasks except generation."""
    if facts.task == "regression":
        return _regression(outputs_NC[:, 0], targets_N, facts.target or {"mean": 0.0, "std": 1.0})
    if facts.task == "multilabel":
        return _multilabel(outputs_NC, targets_N, facts.labels)
    return _classification(outputs_NC, targets_N, facts.labels)


@contextmanager
def _evaluating(network: TaskNetwork) -> Iterator[None]:
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        network.train()


def text_losses(network: LanguageModel, split: EvaluationSplit, check: Check) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return, for each batch of held-out text, the summed loss in nats and the number of tokens."""
    objective, losses = build_objective(network), []
    with _evaluating(network):
        for batch in _text_batches(network.config, split):
            check()
            measured = objective(to_device(batch, split.device))
            losses.append((float(measured.loss), measured.count))
    sums_B, counts_B = np.array(losses, dtype=np.float64).T
    return sums_B, counts_B


def _generation(network: LanguageModel, split: EvaluationSplit, check: Check) -> dict[str, Any]:
    sums, count = Sums(split.device), 0
    objective = build_objective(network)
    for batch in _text_batches(network.config, split):
        check()
        measured = objective(to_device(batch, split.device))
        sums.add(measured)
        count += measured.count
    total, correct = sums.read()
    loss = total / max(1, count)
    metrics: dict[str, Any] = {
        "loss": loss,
        "perplexity": math.exp(min(loss, 700.0)),
        "accuracy": correct / max(1, count),
        "tokens": count,
    }
    if split.most is None and split.data.characters:
        metrics |= {
            "bits_per_character": total / math.log(2) / split.data.characters,
            "characters": split.data.characters,
        }
    return metrics


def _text_batches(config: ModelConfig, split: EvaluationSplit) -> Iterator[Batch]:
    if isinstance(split.data, Rows):
        rows = _row_batches(split, config.context_length, causal=True)
        yield from (batch for batch, _ in rows.in_order(split.most))
        return
    # A network without a maximum length can read more tokens than a training window contains. Such a network carries a
    # state from token to token, so a short context is enough.
    limit = config.position_limit
    window, overlap = UNLIMITED_WINDOW if limit is None else (limit, limit // 2)
    yield from held_out_windows(split.data, window, overlap, max(1, EVAL_TOKENS // window), split.most)


def _row_batches(split: EvaluationSplit, limit: int, *, causal: bool) -> RowBatches:
    assert isinstance(split.data, Rows)
    return RowBatches(split.data, 256, 0, limit=limit, micro_tokens=EVAL_TOKENS, causal=causal)


def _outputs(
    network: RowNetwork, split: EvaluationSplit, check: Check, observe: Observer | None = None
) -> OutputsAndTargets:
    assert isinstance(split.data, Rows)
    outputs, order = [], []
    for batch, rows in _row_batches(split, network.config.context_length, causal=False).in_order(split.most):
        check()
        on_device = to_device(batch, split.device)
        host = batch.inputs, batch.lengths_B
        parts = network.outputs(on_device.inputs, on_device.lengths_B, host=host)
        # The host waits for each batch: with many labels, the device may not have room for the outputs of all rows.
        outputs.append(torch.stack([part.float() for part in parts]).cpu())
        order.append(rows)
    chosen = np.concatenate(order)
    back = np.argsort(chosen, kind="stable")
    parts_PNC, targets_N = torch.cat(outputs, 1)[:, torch.from_numpy(back)], split.data.targets_N[chosen[back]]
    if observe is not None:
        observe(parts_PNC.double().numpy(), targets_N)
    if split.fits_mix and isinstance(network, Classifier) and network.mix is not None:
        weights = mixing.fit(split.facts.task, parts_PNC[0].double().numpy(), parts_PNC[1].double().numpy(), targets_N)
        network.mix.copy_(torch.from_numpy(weights))
    combined_NC = network.combine(list(parts_PNC.to(split.device))).cpu().numpy().astype(np.float64)
    return combined_NC, targets_N


def _classification(logits_NC: NDArray[np.float64], targets_N: NDArray[np.int64], labels: list[str]) -> dict[str, Any]:
    """Compute the metrics of classification.

    The confusion matrix has a row per true label and a column per predicted label.
    """
    shifted_NC = logits_NC - logits_NC.max(1, keepdims=True)
    log_probs_NC = shifted_NC - np.log(np.exp(shifted_NC).sum(1, keepdims=True))
    confusion_CC = np.zeros((len(labels), len(labels)), dtype=np.int64)
    np.add.at(confusion_CC, (targets_N, logits_NC.argmax(1)), 1)
    correct_C, true_C, predicted_C = np.diag(confusion_CC), confusion_CC.sum(1), confusion_CC.sum(0)
    per_class = _per_class(labels, correct_C, predicted_C, true_C)
    return {
        "rows": len(targets_N),
        "accuracy": float(correct_C.sum() / max(1, len(targets_N))),
        "macro_f1": _macro_f1(per_class),
        "loss": float(-log_probs_NC[np.arange(len(targets_N)), targets_N].mean()),
        "per_class": per_class,
        **({"confusion_matrix": confusion_CC.tolist()} if len(labels) <= MATRIX_LABELS else {}),
    }


def _multilabel(logits_NC: NDArray[np.float64], targets_NC: NDArray[np.uint8], labels: list[str]) -> dict[str, Any]:
    predicted_NC, true_NC = logits_NC >= 0, targets_NC > 0  # a logit of 0 corresponds to a probability of 0.5
    correct_C, predicted_C, true_C = (predicted_NC & true_NC).sum(0), predicted_NC.sum(0), true_NC.sum(0)
    per_class = _per_class(labels, correct_C, predicted_C, true_C)
    micro_f1 = 2 * correct_C.sum() / max(1, predicted_C.sum() + true_C.sum())
    losses_NC = np.logaddexp(0.0, logits_NC) - targets_NC * logits_NC
    return {
        "rows": len(targets_NC),
        "accuracy": float((predicted_NC == true_NC).all(1).mean()),
        "macro_f1": _macro_f1(per_class),
        "micro_f1": float(micro_f1),
        "loss": float(losses_NC.mean()),
        "per_class": per_class,
        "threshold": 0.5,
    }


def _per_class(
    labels: list[str], correct_C: NDArray[Any], predicted_C: NDArray[Any], true_C: NDArray[Any]
) -> dict[str, dict[str, float]]:
    return {
        label: {
            "precision": float(correct / predicted) if predicted else 0.0,
            "recall": float(correct / true) if true else 0.0,
            "f1": float(2 * correct / (predicted + true)) if predicted + true else 0.0,
            "support": int(true),
        }
        for label, correct, predicted, true in zip(labels, correct_C, predicted_C, true_C, strict=True)
    }


def _macro_f1(per_class: dict[str, dict[str, float]]) -> float:
    """Return the mean F1 score over the labels that occur in the split."""
    scores = [values["f1"] for values in per_class.values() if values["support"]]
    return float(np.mean(scores or [0.0]))


def _regression(
    values_N: NDArray[np.float64], targets_N: NDArray[np.float32], scale: dict[str, float]
) -> dict[str, Any]:
    """Compute the metrics of regression. Errors are in the units of the data.

    The loss is computed on standardised values.
    """
    error_N = (values_N - targets_N) * scale["std"]
    variance = float((targets_N.astype(np.float64) * scale["std"]).var())
    mse = float((error_N**2).mean())
    return {
        "rows": len(targets_N),
        "loss": float(((values_N - targets_N) ** 2).mean()),
        "mse": mse,
        "mae": float(np.abs(error_N).mean()),
        "r2": 1.0 - mse / variance if variance > 0 else 0.0,
    }
