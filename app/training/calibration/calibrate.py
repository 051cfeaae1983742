"""Fits a version's calibration to the network's outputs for held-out rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.checkpoint.calibration import FORMAT_VERSION, Calibration, ConformalScores
from app.training.calibration import conformal, fit
from app.training.calibration.fit import Affine
from app.training.calibration.reliability import answers, decisions, reliability, sigmoid, softmax
from app.training.calibration.risk import CONFIDENCE, risk_levels
from app.training.loop.crossfit import fold_numbers
from app.training.loop.evaluate import measure
from app.training.prepare.dataset import Facts

FEWEST = 20  # the minimum number of held-out rows; docs/log.md contains the measurements
FOLDS = 5
# In classification, a bias per label requires at most BIASED_LABELS labels with at least BIASED_ROWS rows each.
BIASED_LABELS, BIASED_ROWS = 100, 20
REPORTED = (0.9, 0.95)  # the coverages whose set sizes are reported
Logits = NDArray[np.float64]
Fit = Callable[[Tensor, Tensor], Affine]


@dataclass(frozen=True, slots=True)
class CalibrationRows:
    """Held-out rows for a calibration. `method` is a value of `Calibration.method`.

    `outputs_NC` contains logits, or the standardised values of a regression.
    """

    outputs_NC: Logits
    targets: NDArray[Any]
    method: str


def calibrate(facts: Facts, rows: CalibrationRows, *, weighted: bool = False) -> Calibration:
    """Fit a calibration, and measure it.

    When calibrated probabilities are measured, each row is calibrated by a fit to other rows. If `weighted` is true,
    the labels had different weights in training, and no bias is fitted, because it would undo these weights.
    """
    if facts.task == "regression":
        values_N = conformal.nonconformity("regression", *in_units(facts, rows.outputs_NC, rows.targets))
        return _calibration(rows, [], [], conformal.scores(values_N))
    logits_NC, targets = torch.from_numpy(rows.outputs_NC), torch.from_numpy(np.ascontiguousarray(rows.targets))
    if facts.task == "multilabel":
        targets = targets.double()
    candidates = _candidates(facts.task, rows.targets, weighted)
    chosen, out_of_fold_NC = _choose(facts, candidates, logits_NC, targets)
    affine, probs_NC = chosen(logits_NC, targets), probabilities(facts.task, out_of_fold_NC)
    own_NC, values_N = (
        probabilities(facts.task, rows.outputs_NC),
        conformal.nonconformity(facts.task, probs_NC, rows.targets),
    )
    one_label = facts.task == "classification"
    return _calibration(
        rows,
        affine.scale_C.tolist(),
        affine.bias_C.tolist() if affine.bias_C.any() else [],
        conformal.scores(values_N),
        label_scores=conformal.label_scores(values_N, rows.targets, len(facts.labels)) if one_label else [],
        risk=risk_levels(*answers(facts.task, probs_NC, rows.targets)),
        before=reliability(*decisions(facts.task, own_NC, rows.targets)),
        after=reliability(*decisions(facts.task, probs_NC, rows.targets)),
    )


def _calibration(
    rows: CalibrationRows, scale: list[float], bias: list[float], scores: ConformalScores, **more: Any
) -> Calibration:
    return Calibration(
        format_version=FORMAT_VERSION, rows=len(rows.targets), method=rows.method, scale=scale, bias=bias,
        scores=scores, confidence=CONFIDENCE, **more,
    )  # fmt: skip


def apply(calibration: Calibration, logits_NC: Logits) -> Logits:
    """Return the calibrated logits. Regression values are returned unchanged."""
    if not calibration.scale:
        return logits_NC
    scaled_NC: Logits = logits_NC * np.asarray(calibration.scale)
    return scaled_NC + np.asarray(calibration.bias) if calibration.bias else scaled_NC


def probabilities(task: str, logits_NC: Logits) -> Logits:
    """Convert logits to probabilities, for classification or multilabel classification."""
    return softmax(logits_NC) if task == "classification" else sigmoid(logits_NC)


def in_units(facts: Facts, outputs_NC: Logits, targets_N: NDArray[Any]) -> tuple[Logits, Logits]:
    """Convert the outputs and the targets of a regression to the units of the data."""
    scale = facts.target or {"mean": 0.0, "std": 1.0}
    values_NC: Logits = outputs_NC * scale["std"] + scale["mean"]
    return values_NC, targets_N.astype(np.float64) * scale["std"] + scale["mean"]


def own_evidence(calibration: Calibration) -> dict[str, Any]:
    """Return the expected calibration errors, with and without calibration, on the rows of the calibration's fit.

    To measure the calibrated probabilities, each row is calibrated by a fit to other rows. Returns {} for regression.
    """
    if calibration.before is None or calibration.after is None:
        return {}
    return {"ece": calibration.after.ece, "ece_uncalibrated": calibration.before.ece}


def evidence(facts: Facts, calibration: Calibration, outputs_NC: Logits, targets: NDArray[Any]) -> dict[str, Any]:
    """Measure a calibration on rows that it was not fitted to.

    `ece` and `ece_uncalibrated` are the expected calibration errors with and without calibration. `sets_90` (for
    regression, `intervals_90`) describes the prediction sets or intervals with a coverage of 90 %, and `sets_95` (or
    `intervals_95`) those with a coverage of 95 %.
    """
    figures: dict[str, Any] = {}
    if facts.task == "regression":
        kind, (shown_NC, targets) = "intervals", in_units(facts, outputs_NC, targets)
    else:
        kind, shown_NC = "sets", probabilities(facts.task, apply(calibration, outputs_NC))
        own_NC = probabilities(facts.task, outputs_NC)
        figures["ece"] = reliability(*decisions(facts.task, shown_NC, targets)).ece
        figures["ece_uncalibrated"] = reliability(*decisions(facts.task, own_NC, targets)).ece
    for coverage in REPORTED:
        values = conformal.set_figures(calibration, facts.task, shown_NC, targets, coverage)
        if values is not None:
            figures[f"{kind}_{coverage:.0%}".removesuffix("%")] = values
    return figures


def _candidates(task: str, targets: NDArray[Any], weighted: bool) -> list[Fit]:
    """Return the candidate fits, simplest first."""
    if task == "classification":
        plain: Fit = lambda x, y: fit.fit_classes(x, y, biased=False)  # noqa: E731
        counts_C = np.bincount(targets)
        biased = not weighted and len(counts_C) <= BIASED_LABELS and counts_C.min() >= BIASED_ROWS
        return [plain, *([lambda x, y: fit.fit_classes(x, y, biased=True)] if biased else [])]
    positives_C = (targets > 0).sum(0)
    rich_C = torch.from_numpy((positives_C >= BIASED_ROWS) & (len(targets) - positives_C >= BIASED_ROWS))
    return [fit.fit_scale, *([_platt_of(rich_C)] if rich_C.any() and not weighted else [])]


def _platt_of(rich_C: Tensor) -> Fit:
    """Return a fit that applies Platt scaling to the labels in the mask `rich_C`. The other labels share one scale."""

    def fit_each(logits_NC: Tensor, targets_NC: Tensor) -> Affine:
        shared, own = fit.fit_scale(logits_NC, targets_NC), fit.fit_labels(logits_NC, targets_NC)
        scale_C = torch.where(rich_C, own.scale_C, shared.scale_C)
        return Affine(scale_C, torch.where(rich_C, own.bias_C, torch.zeros_like(own.bias_C)))

    return fit_each


def _choose(facts: Facts, candidates: list[Fit], logits_NC: Tensor, targets: Tensor) -> tuple[Fit, Logits]:
    """Return the best candidate and the logits that it calibrated. Each row is calibrated by a fit to the other folds.

    A more complex candidate must lower the loss by more than one standard error. A bias can also change predicted
    labels, so a candidate must not lower macro-F1 either.
    """
    best, calibrated_NC = candidates[0], _out_of_fold(candidates[0], logits_NC, targets)
    for candidate in candidates[1:]:
        tried_NC = _out_of_fold(candidate, logits_NC, targets)
        gain_N = _losses(calibrated_NC, targets) - _losses(tried_NC, targets)
        before, after = (measure(facts, z.numpy(), targets.numpy())["macro_f1"] for z in (calibrated_NC, tried_NC))
        if gain_N.mean() > gain_N.std() / len(gain_N) ** 0.5 and after >= before:
            best, calibrated_NC = candidate, tried_NC
    return best, calibrated_NC.numpy()


def _out_of_fold(fit_to: Fit, logits_NC: Tensor, targets: Tensor) -> Tensor:
    folds_N = torch.from_numpy(fold_numbers(len(logits_NC), FOLDS))
    calibrated_NC = torch.empty_like(logits_NC)
    for fold in range(FOLDS):
        own_N = folds_N == fold
        affine = fit_to(logits_NC[~own_N], targets[~own_N])
        calibrated_NC[own_N] = affine(logits_NC[own_N])
    return calibrated_NC


def _losses(logits_NC: Tensor, targets: Tensor) -> Tensor:
    """Return the negative log-likelihood of each row."""
    if targets.ndim == 1:
        return torch.nn.functional.cross_entropy(logits_NC, targets, reduction="none")
    return torch.nn.functional.binary_cross_entropy_with_logits(logits_NC, targets, reduction="none").sum(1)
