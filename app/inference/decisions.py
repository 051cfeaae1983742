"""What to make of calibrated scores: prediction sets, intervals, and whether to answer at all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from app.checkpoint.calibration import Calibration
from app.errors import InvalidRequest
from app.inference.versions import ResolvedVersion

LABELLED = ("classification", "multilabel")


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionPolicy:
    """What a request asks for.

    `calibrated` is true for calibrated probabilities only, false for those of the network, and None for calibrated ones
    if the version has a calibration. `prediction_set` is the coverage of sets or intervals. No label is returned below
    the score `abstain_below`, or where the error rate may exceed `max_risk`. `threshold` is the minimum probability
    of a label in the answers of multilabel versions; None means that of the version.
    """

    calibrated: bool | None = None
    prediction_set: float | None = None
    abstain_below: float | None = None
    max_risk: float | None = None
    threshold: float | None = None


@dataclass(frozen=True, slots=True)
class DecisionRule:
    """A policy for one version.

    A label is in the prediction set if its nonconformity score, 1 - p, is at most its entry of `quantiles`. An interval
    reaches `quantiles[0]` to both sides of the value. Scores below `least_score` are not answered.
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
        """The prediction interval of a regression."""
        assert self.quantiles is not None
        return value - self.quantiles[0], value + self.quantiles[0]


def answer_score(task: str, probs: Sequence[float]) -> float:
    """The score of an answer, as in the risk-coverage table of a calibration.

    For classification, this is the highest probability. For multilabel classification, it is the lowest probability
    with which one of the decisions on the labels is right.
    """
    return max(probs) if task == "classification" else min(max(p, 1.0 - p) for p in probs)


def decision_rule(version: ResolvedVersion, policy: DecisionPolicy) -> DecisionRule:
    """Apply a policy to a version. Raises InvalidRequest if the version cannot do what the policy asks for."""
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
            raise InvalidRequest(
                f"prediction_set is {policy.prediction_set:g}, but the calibration of {version.ref} has {rows} rows, "
                f"which allow {math.floor(rows / (rows + 1) * 1e4) / 1e4:g} at most",
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
            f"{field} needs a calibration, and {version.ref} has none: imported versions, checkpoints of running jobs, "
            "and versions that were trained by an earlier release or with very few held-out rows have no calibration. "
            f"Train the model again, or leave out {field}",
            code="no_calibration",
            param=field,
        )
    return calibration


def _check_combination(policy: DecisionPolicy, task: str, version: ResolvedVersion) -> None:
    if policy.threshold is not None and task != "multilabel":
        instead = "; use abstain_below to give no label to uncertain items" if task in LABELLED else ""
        gives = "one label to each item" if task in LABELLED else "numbers"
        message = f"threshold is for versions that give several labels to an item, but {version.ref} gives {gives}"
        raise InvalidRequest(f"{message}{instead}", code="wrong_task", param="threshold")
    for field in ("abstain_below", "max_risk"):
        if getattr(policy, field) is not None and task not in LABELLED:
            message = f"{field} is for labels, but {version.ref} predicts numbers; use prediction_set for an interval"
            raise InvalidRequest(message, code="wrong_task", param=field)
    for field in ("prediction_set", "max_risk"):
        if getattr(policy, field) is not None and policy.calibrated is False:
            message = f"{field} needs calibrated probabilities; leave out calibrated, which is false"
            raise InvalidRequest(message, param="calibrated")
    if policy.max_risk is not None and policy.threshold is not None:
        message = "max_risk was measured at the version's own threshold; leave out threshold"
        raise InvalidRequest(message, param="threshold")


def _least_score(calibration: Calibration, version: ResolvedVersion, max_risk: float) -> float:
    level = calibration.level(max_risk)
    if level is not None:
        return level.score
    lowest = math.ceil(calibration.least_risk * 1e4) / 1e4
    raise InvalidRequest(
        f"max_risk is {max_risk:g}, but the {calibration.rows} rows of the calibration of {version.ref} show no error "
        f"rate below {lowest:g} at any threshold; ask for more, or train with more held-out rows",
        code="risk_not_attainable",
        param="max_risk",
    )
