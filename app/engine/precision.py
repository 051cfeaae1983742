"""Compares a network's outputs in another data type with those in float32, on the probes of a version.

The outputs of the float32 network are kept, so the two networks need not be in memory at the same time. The bounds are
defined in docs/decisions/0018-types-are-chosen-by-measurement.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor

from app.checkpoint.calibration import Calibration
from app.engine.runner import Scaling, pad, stack
from app.wire.modes import PrecisionCheck
from app.wire.probes import MOST, ProbeSet
from models.config import ModelConfig
from models.interface import Context

AGREEMENT = 0.995  # minimum share of probes with the same labels in both types
CHANGE = 0.02  # maximum change of any probability
TEXT = 0.005  # maximum mean KL divergence in nats, and maximum relative change of the perplexity
COSINE = 0.9999  # minimum cosine similarity of the embeddings of a probe
ROWS = 32  # probes in a batch
TEXTS, TOKENS = 32, 48  # the maximum number of probes of a language model, and of tokens in each
EMBEDDED = 4  # one in this many probes of a batch is embedded
COMPARED = ("classification", "multilabel", "generation")  # tasks whose outputs have bounds

Row = TypeVar("Row")
GoOn = Callable[[float], bool]  # receives the share of the work that is done, and returns whether to continue


@dataclass(frozen=True, slots=True)
class Subject:
    """A version whose networks are compared. `scaling` standardises its numeric inputs.

    `threshold` is the minimum probability at which a multilabel version assigns a label.
    """

    config: ModelConfig
    device: torch.device
    calibration: Calibration | None = None
    threshold: float = 0.5
    scaling: Scaling | None = None


class OutOfTime(Exception):
    """The time limit for a comparison has passed."""


@dataclass(frozen=True, slots=True)
class Outputs:
    """The outputs of a network for some probes.

    `values` are calibrated probabilities or, for a language model, log-probabilities of the next token. For a language
    model, `following` contains the actual next tokens. `vectors` are embeddings of some of the probes. `rows` is the
    number of probes for which these are the last outputs.
    """

    values: Tensor
    rows: int
    vectors: Tensor | None = None
    following: Tensor | None = None


def outputs(subject: Subject, network: Any, probes: ProbeSet, dtype: torch.dtype, go_on: GoOn) -> Iterator[Outputs]:
    """Yield the outputs of a network that computes in `dtype`.

    `go_on` is called before each batch or, for a language model, before each step. Raises OutOfTime if `go_on` returns
    false.
    """
    texts = subject.config.task == "generation"
    run = _texts if texts else _labels
    batches = list(_batches(probes, ROWS, TEXTS if texts else MOST))
    sizes = [_steps(batch) for batch in batches]
    for i, batch in enumerate(batches):
        before, size = sum(sizes[:i]) / sum(sizes), sizes[i] / sum(sizes)
        yield from run(subject, network, batch, dtype, partial(_scaled, go_on, before, size))


def _scaled(go_on: GoOn, before: float, size: float, done: float) -> bool:
    return go_on(before + size * done)


def _steps(batch: ProbeSet) -> int:
    return sum(map(len, batch.sequences)) + sum(row.steps for row in batch.features)


def outputs_size(config: ModelConfig) -> int:
    """The approximate total size, in bytes, of one network's outputs and one batch's probabilities."""
    rows, width = (TEXTS * TOKENS, 4) if config.task == "generation" else (MOST, 8)
    return rows * width * (config.vocab_size if config.task == "generation" else config.classes) * 2


def compare(subject: Subject, exact: Iterable[Outputs], other: Iterable[Outputs], source: str) -> PrecisionCheck:
    """Compare outputs with those of the float32 network, for the same probes in the same order."""
    comparison: _Labels | _Texts = _Texts() if subject.config.task == "generation" else _Labels(subject)
    for reference, changed in zip(exact, other, strict=True):
        comparison.add(reference, changed)
    return comparison.result(source)


def _batches(probes: ProbeSet, size: int, most: int) -> Iterator[ProbeSet]:
    """Yield probes of similar length together. If there are more than `most`, yields `most` evenly spaced ones."""
    sequences = sorted(_spread(probes.sequences, most), key=len)
    features = sorted(_spread(probes.features, most), key=lambda row: row.steps)
    for start in range(0, max(len(sequences), len(features)), size):
        part = slice(start, start + size)
        yield ProbeSet(probes.source, sequences[part], features[part], probes.standardised)


def _spread(rows: list[Row], most: int) -> list[Row]:
    return rows[:: max(1, len(rows) // most)][:most]


def _labels(subject: Subject, network: Any, batch: ProbeSet, dtype: torch.dtype, go_on: GoOn) -> Iterator[Outputs]:
    _check_time(go_on, 0.0)
    if batch.sequences:
        inputs, lengths_B = pad(batch.sequences, subject.device)
    else:
        inputs, lengths_B = stack(batch.features, None if batch.standardised else subject.scaling, subject.device)
        inputs = inputs.to(dtype)
    if lengths_B is None:
        lengths_B = torch.full((len(batch),), inputs.shape[1])
    with torch.inference_mode():
        logits_NC: Tensor = network(inputs, lengths_B).double().cpu()
        few_B = lengths_B[::EMBEDDED]
        vectors_ND = network.embed(inputs[::EMBEDDED, : int(few_B.max())], few_B).double().cpu()
        if subject.calibration is not None and subject.calibration.scale:
            logits_NC = logits_NC * torch.tensor(subject.calibration.scale, dtype=torch.float64)
            if subject.calibration.bias:
                logits_NC = logits_NC + torch.tensor(subject.calibration.bias, dtype=torch.float64)
        values_NC = logits_NC.sigmoid() if subject.config.task == "multilabel" else logits_NC.softmax(1)
    yield Outputs(values_NC, len(batch), vectors_ND)


def _texts(subject: Subject, network: Any, batch: ProbeSet, dtype: torch.dtype, go_on: GoOn) -> Iterator[Outputs]:
    """Yield the distributions of the next token, computed step by step as in decoding, and then the embeddings."""
    limit = min(TOKENS, subject.config.position_limit or TOKENS)
    texts = [row[:limit] for row in batch.sequences]
    state = network.new_state(len(texts))
    steps = max(map(len, texts)) - 1
    for step in range(steps):
        _check_time(go_on, step / steps)
        ids = [row[step : step + 1] if step + 1 < len(row) else [] for row in texts]
        present = [i for i, row in enumerate(ids) if row]
        following_N = torch.tensor([texts[i][step + 1] for i in present])
        ids_B1 = torch.tensor([row or [0] for row in ids], device=subject.device)
        context = Context(torch.tensor([len(row) for row in ids]), state)
        with torch.inference_mode():
            values_NV = network.logits(network(ids_B1, context)[present, 0]).float().log_softmax(-1).cpu()
        yield Outputs(values_NV, 0, following=following_N)
    _check_time(go_on, 1.0)
    inputs, _ = pad(texts, subject.device)
    with torch.inference_mode():
        vectors_ND = network.embed(inputs, torch.tensor([len(row) for row in texts])).double().cpu()
    yield Outputs(torch.empty(0), len(texts), vectors_ND)


def _check_time(go_on: GoOn, done: float) -> None:
    if not go_on(done):
        raise OutOfTime


@dataclass(slots=True)
class _Vectors:
    """Compares embeddings, which are unit vectors."""

    least: float = 1.0

    def add(self, exact: Outputs, other: Outputs) -> None:
        if exact.vectors is not None and other.vectors is not None and len(exact.vectors):
            cosine = float((exact.vectors * other.vectors).sum(1).min())
            self.least = min(self.least, cosine) if math.isfinite(cosine) else -1.0

    @property
    def accepted(self) -> bool:
        return self.least >= COSINE


@dataclass(slots=True)
class _Labels:
    """Compares labels, probabilities and embeddings."""

    subject: Subject
    rows: int = 0
    equal: int = 0
    change: float = 0.0
    vectors: _Vectors = field(default_factory=_Vectors)

    def add(self, exact: Outputs, other: Outputs) -> None:
        self.rows += exact.rows
        self.equal += int((self._labels(exact.values) == self._labels(other.values)).all(1).sum())
        change = float((exact.values - other.values).abs().max())
        self.change = math.inf if math.isnan(change) else max(self.change, change)
        self.vectors.add(exact, other)

    def _labels(self, probability_NC: Tensor) -> Tensor:
        if self.subject.config.task == "multilabel":
            return probability_NC >= self.subject.threshold
        return probability_NC.argmax(1, keepdim=True)

    def result(self, source: str) -> PrecisionCheck:
        agreement = self.equal / max(1, self.rows)
        accepted = self.rows >= MOST and agreement >= AGREEMENT and self.change <= CHANGE and self.vectors.accepted
        return PrecisionCheck(
            accepted, source, self.rows, agreement=agreement, change=min(1.0, self.change), cosine=self.vectors.least
        )


@dataclass(slots=True)
class _Texts:
    """Compares next-token distributions and embeddings."""

    rows: int = 0
    tokens: int = 0
    divergence: float = 0.0  # sums over the tokens, in nats
    losses: list[float] = field(default_factory=lambda: [0.0, 0.0])
    vectors: _Vectors = field(default_factory=_Vectors)

    def add(self, exact: Outputs, other: Outputs) -> None:
        self.rows += exact.rows
        self.vectors.add(exact, other)
        if exact.following is None:
            return
        reference_NV, other_NV = exact.values.double(), other.values.double()
        self.tokens += len(exact.following)
        self.divergence += float((reference_NV.exp() * (reference_NV - other_NV)).sum())
        for i, logprobs_NV in enumerate((reference_NV, other_NV)):
            self.losses[i] -= float(logprobs_NV.gather(1, exact.following[:, None]).sum())

    def result(self, source: str) -> PrecisionCheck:
        count = max(1, self.tokens)
        divergence, (loss, other) = self.divergence / count, (total / count for total in self.losses)
        perplexity = math.expm1(min(abs(other - loss), 700.0))
        enough = self.rows >= min(TEXTS, MOST) and self.tokens > 0 and self.vectors.accepted
        accepted = enough and divergence <= TEXT and perplexity <= TEXT  # false if a figure is NaN
        divergence_, perplexity_ = (value if math.isfinite(value) else None for value in (divergence, perplexity))
        return PrecisionCheck(
            accepted, source, self.rows, divergence=divergence_, perplexity=perplexity_, cosine=self.vectors.least
        )
