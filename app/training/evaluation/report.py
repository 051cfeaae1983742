"""Measures one or two versions on the evaluation file, and creates the report."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.tokenization.pieces import pieces
from app.training.base import BaseCheckpoint
from app.training.baseline.comparison import SHOWN, main_figure, p_value
from app.training.baseline.paired import PairedTest, mcnemar, t_test
from app.training.calibration import calibrate
from app.training.evaluation import predictions
from app.training.evaluation.held_out import HeldOut
from app.training.evaluation.scores import Scores, metrics_of, score
from app.training.evaluation.thresholds import measure_thresholds
from app.training.failures import Check
from app.training.loop.evaluate import EvaluationSplit, evaluate, outputs_of
from app.training.prepare.dataset import Rows, Stream
from app.wire.measurement import too_few, verdict
from models.ngrams import Ngrams
from models.tasks import LanguageModel, build


@dataclass(frozen=True, slots=True)
class Measured:
    """A version's metrics and scores on the evaluated rows. Language models have no `scores`.

    `unknown_labels` are the labels of the file that the version does not have.
    """

    reference: str
    metrics: dict[str, Any]
    scores: Scores | None
    unknown_labels: list[str] = field(default_factory=list)


def measure_version(base: BaseCheckpoint, held_out: HeldOut, reference: str, device: str, check: Check) -> Measured:
    """Compute the predictions and metrics of a version.

    `check` is called between batches and may raise an exception.
    """
    network = build(base.config, initialised=False)
    network.load_state_dict(base.tensors())
    if isinstance(branch := getattr(network, "ngrams", None), Ngrams):
        branch.bind_tokens(pieces(base.tokenizer()))
    network.to(device)
    split = EvaluationSplit(held_out.data, held_out.dataset.facts, device)
    if isinstance(network, LanguageModel):
        return Measured(reference, evaluate(network, split, check), None)
    facts = held_out.dataset.facts
    outputs_NC, targets_N = outputs_of(network, split, check)
    if base.calibration is not None:  # measure the probabilities that the service would return
        outputs_NC = calibrate.apply(base.calibration, outputs_NC)
    metrics = metrics_of(facts, held_out.labels, outputs_NC, targets_N)
    scores = score(facts, held_out.labels, outputs_NC, targets_N)
    return Measured(reference, metrics, scores, held_out.labels[len(base.labels) :])


def write_report(
    path: Path, held_out: HeldOut, base: BaseCheckpoint, own: Measured, other: Measured | None
) -> dict[str, Any]:
    """Write the predictions to a CSV file at `path` (empty for language models), and return the evaluation report."""
    task = base.config.task
    report: dict[str, Any] = {
        "task": task,
        "split": held_out.split,
        "rows_sha256": held_out.sha256,
        "metrics": own.metrics,
        "unknown_labels": own.unknown_labels,
        "truncated": _count_cut(held_out.data, base.config.context_length),
    }
    if own.scores is not None:
        if thresholds := measure_thresholds(base.calibration, own.scores):
            report["thresholds"] = thresholds
        report["mistakes"] = predictions.write(path, held_out, own.scores, other.scores if other else None)
    else:
        path.write_text("", encoding="utf-8")
    if other is not None:
        report["against"] = {
            "model": other.reference,
            "metrics": other.metrics,
            "unknown_labels": other.unknown_labels,
        }
        report["comparison"] = _compare(task, own, other)
    return report


def _compare(task: str, own: Measured, other: Measured) -> dict[str, Any]:
    """Compare the main metrics of two versions on the same rows. Except for generation, adds a paired test."""
    metric = SHOWN[task]
    first, second = own.metrics.get(metric), other.metrics.get(metric)
    comparison: dict[str, Any] = {"metric": metric, "model": first, "against": second}
    summary = (
        f"{own.reference}: {main_figure(task, first)}; {other.reference} on the same rows: {main_figure(task, second)}"
    )
    if own.scores is not None and other.scores is not None:
        test = _test(own.scores, other.scores)
        comparison |= {"test": test.name, "p": test.p}
        summary += f" ({test.name} p {p_value(test.p)})"
    if too_few(own.metrics.get("rows")):
        summary = f"{own.reference} and {other.reference} on {verdict(own.metrics['rows'])}"
    return comparison | {"summary": summary}


def _test(own: Scores, other: Scores) -> PairedTest:
    if own.correct_N is None or other.correct_N is None:
        return t_test(own.losses_N, other.losses_N)
    return mcnemar(own.correct_N, other.correct_N)


def _count_cut(data: Rows | Stream, limit: int) -> int:
    """Count the rows that exceed the version's context length."""
    if not isinstance(data, Rows):
        return 0
    lengths_N: NDArray[np.int64] = data.lengths_N
    return int((lengths_N > limit + bool(len(data.learned))).sum())
