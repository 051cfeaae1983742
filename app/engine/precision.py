"""Compares the outputs of a network in another type with those of float32, on the probes of a version.

The bounds are those of docs/decisions/0018-types-are-chosen-by-measurement.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from app.checkpoint.calibration import Calibration
from app.engine.runner import Scaling, pad, stack
from app.wire.modes import PrecisionCheck
from app.wire.probes import MOST, ProbeSet
from models.config import ModelConfig
from models.interface import Context

AGREEMENT = 0.995  # minimum share of probes with the same labels
CHANGE = 0.02  # maximum change of any probability
TEXT = 0.005  # maximum mean KL divergence in nats, and maximum relative change of the perplexity
ROWS = 32  # probes in a batch
TEXTS, TOKENS = 32, 48  # probes of a language model, and tokens of each
COMPARED = ("classification", "multilabel", "generation")  # tasks whose outputs have bounds


@dataclass(frozen=True, slots=True)
class Subject:
    """A version to compare: its configuration, how its numeric inputs are standardised, and how outputs become labels.

    `threshold` is the minimum probability of a label of a multilabel version.
    """

    config: ModelConfig
    device: torch.device
    calibration: Calibration | None = None
    threshold: float = 0.5
    scaling: Scaling | None = None


def compare(
    subject: Subject, exact: Any, other: Any, probes: ProbeSet, dtype: torch.dtype, go_on: Callable[[], bool]
) -> PrecisionCheck:
    """Compare a network `other`, which computes in `dtype`, with the float32 network `exact`.

    `go_on` is called between batches; if it returns false, the check ends, and its result is not accepted.
    """
    kind = _Texts if subject.config.task == "generation" else _Labels
    comparison = kind(subject, dtype)
    with torch.inference_mode():
        for batch in _batches(probes, ROWS, TEXTS if kind is _Texts else MOST):
            if not go_on():
                break
            comparison.add(exact, other, batch)
    return comparison.result(probes.source)


def _batches(probes: ProbeSet, size: int, most: int) -> Iterator[ProbeSet]:
    """Yield probes of similar length together."""
    sequences = sorted(probes.sequences[:most], key=len)
    features = sorted(probes.features[:most], key=lambda row: row.steps)
    for start in range(0, max(len(sequences), len(features)), size):
        part = slice(start, start + size)
        yield ProbeSet(probes.source, sequences[part], features[part], probes.standardised)


@dataclass(slots=True)
class _Labels:
    """Compares labels and probabilities."""

    subject: Subject
    dtype: torch.dtype
    rows: int = 0
    equal: int = 0
    change: float = 0.0

    def add(self, exact: Any, other: Any, batch: ProbeSet) -> None:
        reference_NC, probability_NC = (
            self._outputs(exact, batch, torch.float32),
            self._outputs(other, batch, self.dtype),
        )
        self.rows += len(batch)
        self.equal += int((self._labels(reference_NC) == self._labels(probability_NC)).all(1).sum())
        change = float((reference_NC - probability_NC).abs().max())
        self.change = math.inf if math.isnan(change) else max(self.change, change)

    def _outputs(self, network: Any, batch: ProbeSet, dtype: torch.dtype) -> Tensor:
        """The calibrated probabilities, (N, C)."""
        subject = self.subject
        if batch.sequences:
            inputs, lengths_B = pad(batch.sequences, subject.device)
        else:
            inputs, lengths_B = stack(batch.features, None if batch.standardised else subject.scaling, subject.device)
            inputs = inputs.to(dtype)
        if lengths_B is None:
            lengths_B = torch.full((len(batch),), inputs.shape[1])
        logits_NC: Tensor = network(inputs, lengths_B).double().cpu()
        if subject.calibration is not None and subject.calibration.scale:
            logits_NC = logits_NC * torch.tensor(subject.calibration.scale, dtype=torch.float64)
            if subject.calibration.bias:
                logits_NC = logits_NC + torch.tensor(subject.calibration.bias, dtype=torch.float64)
        return logits_NC.sigmoid() if subject.config.task == "multilabel" else logits_NC.softmax(1)

    def _labels(self, probability_NC: Tensor) -> Tensor:
        if self.subject.config.task == "multilabel":
            return probability_NC >= self.subject.threshold
        return probability_NC.argmax(1, keepdim=True)

    def result(self, source: str) -> PrecisionCheck:
        agreement = self.equal / max(1, self.rows)
        accepted = self.rows >= MOST and agreement >= AGREEMENT and self.change <= CHANGE
        return PrecisionCheck(accepted, source, self.rows, agreement=agreement, change=min(1.0, self.change))


@dataclass(slots=True)
class _Texts:
    """Compares the distributions of the next token, computed step by step as in decoding."""

    subject: Subject
    dtype: torch.dtype
    rows: int = 0
    tokens: int = 0
    divergence: float = 0.0  # sums over the tokens, in nats
    losses: list[float] = field(default_factory=lambda: [0.0, 0.0])

    def add(self, exact: Any, other: Any, batch: ProbeSet) -> None:
        limit = min(TOKENS, self.subject.config.position_limit or TOKENS)
        texts = [row[:limit] for row in batch.sequences]
        states = [network.new_state(len(texts)) for network in (exact, other)]
        for step in range(max(map(len, texts)) - 1):
            ids = [row[step : step + 1] if step + 1 < len(row) else [] for row in texts]
            present = [i for i, row in enumerate(ids) if row]
            following = torch.tensor([texts[i][step + 1] for i in present], device=self.subject.device)
            ids_B1 = torch.tensor([row or [0] for row in ids], device=self.subject.device)
            context = [Context(torch.tensor([len(row) for row in ids]), state) for state in states]
            reference_NV, other_NV = (
                network.logits(network(ids_B1, c)[present, 0]).double().log_softmax(-1)
                for network, c in zip((exact, other), context, strict=True)
            )
            self.tokens += len(present)
            self.divergence += float((reference_NV.exp() * (reference_NV - other_NV)).sum())
            for i, logprobs_NV in enumerate((reference_NV, other_NV)):
                self.losses[i] -= float(logprobs_NV.gather(1, following[:, None]).sum())
        self.rows += len(texts)

    def result(self, source: str) -> PrecisionCheck:
        count = max(1, self.tokens)
        divergence, (loss, other) = self.divergence / count, (total / count for total in self.losses)
        perplexity = math.expm1(min(abs(other - loss), 700.0))
        enough = self.rows >= min(TEXTS, MOST) and self.tokens > 0
        accepted = enough and divergence <= TEXT and perplexity <= TEXT  # false if a figure is NaN
        figures = (value if math.isfinite(value) else None for value in (divergence, perplexity))
        return PrecisionCheck(accepted, source, self.rows, None, None, *figures)
