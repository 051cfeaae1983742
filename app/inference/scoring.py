"""Converts a classification head's raw outputs to probabilities and ranked labels."""

from __future__ import annotations

import asyncio
import heapq
import math
from collections.abc import Sequence

import msgspec

from app.checkpoint.calibration import Calibration

INLINE = 4000  # maximum number of logits that are calibrated on the event loop
FEW = 8  # a heap is faster than sorting if fewer than 1/FEW of the scores are requested


class LabelScore(msgspec.Struct, frozen=True, gc=False):
    """A label and its score."""

    label: str
    score: float


def calibrated(calibration: Calibration, rows: Sequence[Sequence[float]]) -> list[list[float]]:
    """Apply a calibration's scale and bias to rows of logits. Regression values are returned unchanged."""
    scale, bias = calibration.scale, calibration.bias
    if not scale:
        return [list(row) for row in rows]
    if len(scale) == 1 and not bias:
        return [[logit * scale[0] for logit in row] for row in rows]
    count = max(len(scale), len(bias))
    factors, offsets = scale * count if len(scale) == 1 else scale, bias or [0.0] * count
    return [[logit * a + b for logit, a, b in zip(row, factors, offsets, strict=True)] for row in rows]


async def calibrate(calibration: Calibration, rows: Sequence[Sequence[float]]) -> list[list[float]]:
    """Return the result of `calibrated`, which is computed in a thread if there are many logits."""
    if len(rows) * len(rows[0]) <= INLINE:
        return calibrated(calibration, rows)
    return await asyncio.to_thread(calibrated, calibration, rows)


def softmax(logits: Sequence[float]) -> list[float]:
    """Probabilities that sum to 1. The largest logit is subtracted first, so that `exp` cannot overflow."""
    top = max(logits)
    raised = [math.exp(logit - top) for logit in logits]
    total = sum(raised)
    return [value / total for value in raised]


def sigmoid(logits: Sequence[float]) -> list[float]:
    """One independent probability per logit. Uses a separate formula for each sign, so that `exp` cannot overflow."""
    return [1.0 / (1.0 + math.exp(-x)) if x >= 0 else math.exp(x) / (1.0 + math.exp(x)) for x in logits]


def activate(logits: Sequence[float], task: str) -> list[float]:
    """Convert logits to probabilities: a distribution over all labels or, if multilabel, one probability per label."""
    return sigmoid(logits) if task == "multilabel" else softmax(logits)


def ranked(labels: Sequence[str], scores: Sequence[float], top_k: int | None = None) -> list[LabelScore]:
    """Return the labels, or the first `top_k`, by descending score. Labels with equal scores keep their order."""
    if top_k is not None and FEW * top_k < len(scores):
        order = heapq.nlargest(top_k, range(len(scores)), scores.__getitem__)
    else:
        order = sorted(range(len(scores)), key=scores.__getitem__, reverse=True)
    return [LabelScore(labels[i], scores[i]) for i in order[:top_k]]


def at_least(labels: Sequence[str], scores: Sequence[float], threshold: float) -> list[str]:
    """Return the labels whose score is at least `threshold`, in their original order."""
    return [label for label, score in zip(labels, scores, strict=True) if score >= threshold]
