"""Held-out data → the metrics of `API.md`. Knows a network and batches; knows no optimiser and changes nothing.

Of a text every held-out token is predicted exactly once, from the tokens before it alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from app.training.loop.batches import Batch, RowBatches, held_out_windows
from app.training.loop.objective import objective
from app.training.prepare.dataset import Facts, Rows, Stream
from models.config import ModelConfig
from models.tasks import Classifier, LanguageModel

EVAL_TOKENS = 16_384  # of a batch, padding included
RECURRENT_WINDOW = 512, 64  # tokens of a held-out text at a time, and how many of them only lead up to the rest
MATRIX_LABELS = 500  # a matrix of more is megabytes of zeros that nobody reads
Network = LanguageModel | Classifier
Check = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Part:
    """A split to evaluate on. `most`: rows, or tokens of a text, to look at; None: all."""

    data: Rows | Stream
    facts: Facts
    device: str = "cpu"
    most: int | None = None


def evaluate(network: Network, part: Part, check: Check = lambda: None) -> dict[str, Any]:
    """The metrics of a split. `check` is called before each batch and may raise. Leaves the network in train mode."""
    network.eval()
    try:
        with torch.no_grad():
            if isinstance(network, LanguageModel):
                return _generation(network, part, check)
            outputs_NC, targets_N = _outputs(network, part, check)
    finally:
        network.train()
    if part.facts.task == "regression":
        return _regression(outputs_NC[:, 0], targets_N, part.facts.target or {"mean": 0.0, "std": 1.0})
    if part.facts.task == "multilabel":
        return _multilabel(outputs_NC, targets_N, part.facts.labels)
    return _classification(outputs_NC, targets_N, part.facts.labels)


def _generation(network: LanguageModel, part: Part, check: Check) -> dict[str, Any]:
    total, correct, count = 0.0, 0, 0
    measure = objective(network)
    for batch in _text_batches(network.config, part):
        check()
        outcome = measure(to_device(batch, part.device))
        total += float(outcome.loss)
        correct += int(outcome.correct)
        count += outcome.count
    loss = total / max(1, count)
    metrics: dict[str, Any] = {
        "loss": loss,
        "perplexity": math.exp(min(loss, 700.0)),
        "accuracy": correct / max(1, count),
        "tokens": count,
    }
    if part.most is None and part.data.characters:
        metrics |= {
            "bits_per_character": total / math.log(2) / part.data.characters,
            "characters": part.data.characters,
        }
    return metrics


def _text_batches(config: ModelConfig, part: Part) -> Iterator[Batch]:
    if isinstance(part.data, Rows):
        rows = _row_batches(part, config.context_length, causal=True)
        yield from (batch for batch, _ in rows.in_order(part.most))
        return
    # A recurrent network is at home beyond the windows it was trained on, and needs less of an approach.
    window, overlap = RECURRENT_WINDOW if config.recurrent else (config.context_length, config.context_length // 2)
    yield from held_out_windows(part.data, window, overlap, max(1, EVAL_TOKENS // window), part.most)


def _row_batches(part: Part, limit: int, *, causal: bool) -> RowBatches:
    assert isinstance(part.data, Rows)
    return RowBatches(part.data, 256, 0, limit=limit, micro_tokens=EVAL_TOKENS, causal=causal)


def _outputs(network: Classifier, part: Part, check: Check) -> tuple[NDArray[np.float64], NDArray[Any]]:
    assert isinstance(part.data, Rows)
    outputs, order = [], []
    for batch, rows in _row_batches(part, network.config.context_length, causal=False).in_order(part.most):
        check()
        moved = to_device(batch, part.device)
        outputs.append(network(moved.inputs, moved.lengths_B).float().cpu().numpy().astype(np.float64))
        order.append(rows)
    chosen = np.concatenate(order)
    back = np.argsort(chosen, kind="stable")
    return np.concatenate(outputs)[back], part.data.targets_N[chosen[back]]


def to_device(batch: Batch, device: str) -> Batch:
    if device == "cpu":
        return batch
    return Batch(batch.inputs.to(device), batch.lengths_B.to(device), batch.targets.to(device))


def _classification(logits_NC: NDArray[np.float64], targets_N: NDArray[np.int64], labels: list[str]) -> dict[str, Any]:
    """The confusion matrix has a row a true label and a column a predicted one."""
    shifted_NC = logits_NC - logits_NC.max(1, keepdims=True)
    log_probs_NC = shifted_NC - np.log(np.exp(shifted_NC).sum(1, keepdims=True))
    confusion_CC = np.zeros((len(labels), len(labels)), dtype=np.int64)
    np.add.at(confusion_CC, (targets_N, logits_NC.argmax(1)), 1)
    right_C, asked_C, told_C = np.diag(confusion_CC), confusion_CC.sum(1), confusion_CC.sum(0)
    per_class = _per_class(labels, right_C, told_C, asked_C)
    return {
        "accuracy": float(right_C.sum() / max(1, len(targets_N))),
        "macro_f1": _macro_f1(per_class),
        "loss": float(-log_probs_NC[np.arange(len(targets_N)), targets_N].mean()),
        "per_class": per_class,
        **({"confusion_matrix": confusion_CC.tolist()} if len(labels) <= MATRIX_LABELS else {}),
    }


def _multilabel(logits_NC: NDArray[np.float64], targets_NC: NDArray[np.uint8], labels: list[str]) -> dict[str, Any]:
    told_NC, asked_NC = logits_NC >= 0, targets_NC > 0  # a logit of 0 is a probability of 0.5
    right_C, told_C, asked_C = (told_NC & asked_NC).sum(0), told_NC.sum(0), asked_NC.sum(0)
    per_class = _per_class(labels, right_C, told_C, asked_C)
    overall = 2 * right_C.sum() / max(1, told_C.sum() + asked_C.sum())
    losses_NC = np.logaddexp(0.0, logits_NC) - targets_NC * logits_NC
    return {
        "accuracy": float((told_NC == asked_NC).all(1).mean()),
        "macro_f1": _macro_f1(per_class),
        "micro_f1": float(overall),
        "loss": float(losses_NC.mean()),
        "per_class": per_class,
        "threshold": 0.5,
    }


def _per_class(
    labels: list[str], right_C: NDArray[Any], told_C: NDArray[Any], asked_C: NDArray[Any]
) -> dict[str, dict[str, float]]:
    return {
        label: {
            "precision": float(right / told) if told else 0.0,
            "recall": float(right / asked) if asked else 0.0,
            "f1": float(2 * right / (told + asked)) if told + asked else 0.0,
            "support": int(asked),
        }
        for label, right, told, asked in zip(labels, right_C, told_C, asked_C, strict=True)
    }


def _macro_f1(per_class: dict[str, dict[str, float]]) -> float:
    """Over the labels that occur in the split."""
    met = [values["f1"] for values in per_class.values() if values["support"]]
    return float(np.mean(met or [0.0]))


def _regression(
    values_N: NDArray[np.float64], targets_N: NDArray[np.float32], scale: dict[str, float]
) -> dict[str, Any]:
    error_N = (values_N - targets_N) * scale["std"]
    spread = float((targets_N.astype(np.float64) * scale["std"]).var())
    mse = float((error_N**2).mean())
    return {
        "loss": float(((values_N - targets_N) ** 2).mean()),
        "mse": mse,
        "mae": float(np.abs(error_N).mean()),
        "r2": 1.0 - mse / spread if spread > 0 else 0.0,
    }
