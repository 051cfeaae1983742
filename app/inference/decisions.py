"""Converts calibrated scores to decisions: prediction sets, intervals, and whether to answer at all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from app.checkpoint.calibration import Calibration
from app.errors import InvalidRequest
from app.inference.versions import ResolvedVersion
from app.wording import quantity

LABELLED = ("classification", "multilabel")


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionPolicy:
    """The request options that determine how scores are converted to decisions.

    If `calibrated` is true, the version must have a calibration; if it is false, the calibration is not applied; if it
    is None, the calibration is applied if the version has one. `prediction_set` is the coverage of sets or intervals.
    No label is returned if the score is below `abstain_below`, or if the error rate could exceed `max_risk`.
    `threshold` is the minimum probability of a label in a multilabel version's answer; None means the version's own
    threshold.
    """

    calibrated: bool | None = None
    prediction_set: float | None = None
    abstain_below: float | None = None
    max_risk: float | None = None
    threshold: float | None = None


@dataclass(frozen=True, slots=True)
class DecisionRule:
    """A policy applied to one version.

    A label is in the prediction set if its nonconformity score, 1 - p, is at most the label's entry in `quantiles`. An
    interval extends `quantiles[0]` in both directions from the value. Items whose score is below `least_score` are not
    answered.
    """

    task: str
    quantiles: Sequence[float] | None = None
    least_score: float | None = None

    def abstains(self, probs: Sequence[float]) -> bool:
        """Whether to leave an item unanswered."""
        return self.least_score is not None and answer_score(self.task, probs) < self.least_score

    def members(self, labels: Sequence[str], probs: Sequence[float]) -> list[str]:
        """The prediction set, beginning with the most probable label.

        For classification, this label is always in the set.
        """
        assert self.quantiles is not None
        order = sorted(range(len(labels)), key=probs.__getitem__, reverse=True)
        chosen = [index for index in order if 1.0 - probs[index] <= self.quantiles[index]]
        if not chosen and self.task == "classification":
            chosen = order[:1]
        return [labels[index] for index in chosen]

    def interval(self, value: float) -> tuple[float, float]:
        """A regression's prediction interval."""
        assert self.quantiles is not None
        return value - self.quantiles[0], value + self.quantiles[0]


def answer_score(task: str, probs: Sequence[float]) -> float:
    """An answer's score, as in a calibration's risk-coverage table.

    For classification, the score is the highest probability. For multilabel classification, each label is a separate
    decision, and the score of the answer is that of its least certain decision.
    """
    return max(probs) if task == "classification" else min(max(p, 1.0 - p) for p in probs)


def decision_rule(version: ResolvedVersion, policy: DecisionPolicy) -> DecisionRule:
    """Apply a policy to a version. Raises InvalidRequest if the version does not support it."""
    task, calibration = version.config.task, version.assets.calibration
    if policy.calibrated:
        _required(calibration, version, "calibrated")
    _check_combination(policy, task, version)
    quantiles, least = None, policy.abstain_below
    if policy.prediction_set is not None:
        needed = _required(calibration, version, "prediction_set")
        quantiles = needed.quantiles(policy.prediction_set, len(version.labels) or 1)
        if quantiles is None:
            rows = needed.scores.rows
            highest = math.floor(rows / (rows + 1) * 1e4) / 1e4
            raise InvalidRequest(
                f"prediction_set is {policy.prediction_set:g}, but with {quantity(rows, 'held-out row')} the "
                f"calibration of {version.ref} can guarantee a coverage of at most {highest:g}; lower prediction_set "
                f"to {highest:g}, or train with more held-out rows",
                code="coverage_not_attainable",
                param="prediction_set",
            )
    if policy.max_risk is not None:
        at_risk = _least_score(_required(calibration, version, "max_risk"), version, policy.max_risk)
        least = at_risk if least is None else max(least, at_risk)
    return DecisionRule(task, quantiles, least)


def _required(calibration: Calibration | None, version: ResolvedVersion, field: str) -> Calibration:
    if calibration is None:
        raise InvalidRequest(
            f"{field} requires a calibration, but {version.ref} has none: imported versions, checkpoints of running "
            "jobs, and versions that were trained by an earlier release or with very few held-out rows have no "
            f"calibration. Train the model again, or leave out {field}",
            code="no_calibration",
            param=field,
        )
    return calibration


def _check_combination(policy: DecisionPolicy, task: str, version: ResolvedVersion) -> None:
    if policy.threshold is not None and task != "multilabel":
        instead = "; use abstain_below to leave uncertain items without a label" if task in LABELLED else ""
        gives = "one label for each item" if task in LABELLED else "numbers"
        message = f"threshold applies only to multilabel versions, but {version.ref} predicts {gives}"
        raise InvalidRequest(f"{message}{instead}", code="wrong_task", param="threshold")
    for field in ("abstain_below", "max_risk"):
        if getattr(policy, field) is not None and task not in LABELLED:
            message = (
                f"{field} applies to labels, but {version.ref} predicts numbers; use prediction_set for an interval"
            )
            raise InvalidRequest(message, code="wrong_task", param=field)
    for field in ("prediction_set", "max_risk"):
        if getattr(policy, field) is not None and policy.calibrated is False:
            message = f"{field} requires calibrated probabilities, but calibrated is false; leave out calibrated"
            raise InvalidRequest(message, param="calibrated")
    if policy.max_risk is not None and policy.threshold is not None:
        message = "max_risk relies on error rates measured at the version's own threshold; leave out threshold"
        raise InvalidRequest(message, param="threshold")


def _least_score(calibration: Calibration, version: ResolvedVersion, max_risk: float) -> float:
    level = calibration.level(max_risk)
    if level is not None:
        return level.score
    lowest = math.ceil(calibration.least_risk * 1e4) / 1e4
    raise InvalidRequest(
        f"max_risk is {max_risk:g}, but with {quantity(calibration.rows, 'held-out row')} the calibration of "
        f"{version.ref} can guarantee no error rate below {lowest:g}; raise max_risk to at least {lowest:g}, or train "
        "with more held-out rows",
        code="risk_not_attainable",
        param="max_risk",
    )
