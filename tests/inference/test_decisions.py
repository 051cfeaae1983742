"""The API process computes prediction sets, intervals and abstention from a version's calibration."""

from __future__ import annotations

from typing import Any

import pytest

from app.checkpoint.calibration import Calibration, ConformalScores, RiskLevel
from app.errors import InvalidRequest
from app.inference.decisions import DecisionPolicy, DecisionRule, answer_score, decision_rule
from app.inference.scoring import activate, calibrated
from app.inference.versions import Assets, ResolvedVersion
from models.config import ModelConfig
from tests.checkpoint.test_calibration import calibration
from tests.inference.test_versions import Record

LABELS = ("a", "b", "c")
LEVELS = [RiskLevel(0.9, 0.5, 0.01, 0.04), RiskLevel(0.5, 1.0, 0.1, 0.15)]


def version(made: Calibration | None, task: str = "classification") -> ResolvedVersion:
    labels = LABELS if task != "regression" else ()
    config = ModelConfig(architecture="lstm", task=task, vocab_size=9, classes=len(labels) or 1, width=8)
    return ResolvedVersion(Record("mood:1", "0"), Assets(config, {}, labels, None, made), 0.0)


def made(**changes: Any) -> Calibration:
    return calibration(rows=1000, scores=ConformalScores(9, [n / 10 for n in range(1, 10)]), risk=LEVELS, **changes)


def rule(task: str = "classification", **policy: Any) -> DecisionRule:
    return decision_rule(version(made(), task), DecisionPolicy(**policy))


def test_a_set_contains_the_labels_within_the_quantile() -> None:
    probs = [0.3, 0.55, 0.15]
    assert rule(prediction_set=0.5).members(LABELS, probs) == ["b"]  # 1 - p is at most 0.5
    assert rule(prediction_set=0.7).members(LABELS, probs) == ["b", "a"]
    assert rule(prediction_set=0.9).members(LABELS, probs) == ["b", "a", "c"]


def test_a_set_is_empty_only_for_several_labels() -> None:
    assert rule(prediction_set=0.1).members(LABELS, [0.3, 0.55, 0.15]) == ["b"]
    assert rule("multilabel", prediction_set=0.1).members(LABELS, [0.3, 0.55, 0.15]) == []


def test_an_interval_reaches_the_same_distance_to_both_sides() -> None:
    regression = version(
        calibration(scale=[], scores=ConformalScores(9, [float(n) for n in range(1, 10)])), "regression"
    )
    low, high = decision_rule(regression, DecisionPolicy(prediction_set=0.9)).interval(100.0)
    assert (low, high) == (91.0, 109.0)


def test_answers_below_the_score_are_withheld() -> None:
    at_half = rule(abstain_below=0.5)
    assert not at_half.abstains([0.5, 0.3, 0.2]) and at_half.abstains([0.49, 0.3, 0.21])
    risky = rule(max_risk=0.05)
    assert risky.least_score == 0.9 and risky.abstains([0.89, 0.1, 0.01])
    assert rule(max_risk=0.05, abstain_below=0.5).least_score == 0.9, "the higher of the two bounds"
    assert rule(max_risk=0.05, abstain_below=0.95).least_score == 0.95
    assert not rule().abstains([0.4, 0.3, 0.3])
    assert answer_score("multilabel", [0.9, 0.3, 0.05]) == 0.7
    plain = decision_rule(version(None), DecisionPolicy(abstain_below=0.5))
    assert plain.abstains([0.4, 0.3, 0.3]), "a score does not need a calibration"


REFUSED: list[tuple[str, Calibration | None, dict[str, Any], str, str]] = [
    (
        "classification",
        None,
        {"max_risk": 0.1},
        "no_calibration",
        "max_risk requires a calibration, but mood:1 has none",
    ),
    ("classification", None, {"prediction_set": 0.9}, "no_calibration", "prediction_set requires a calibration"),
    ("classification", None, {"calibrated": True}, "no_calibration", "calibrated requires a calibration"),
    (
        "classification",
        made(),
        {"max_risk": 0.01},
        "risk_not_attainable",
        "no error rate below 0.04; raise max_risk to at least 0.04",
    ),
    ("classification", made(), {"prediction_set": 0.95}, "coverage_not_attainable", "a coverage of at most 0.9"),
    (
        "classification",
        made(),
        {"calibrated": False, "max_risk": 0.1},
        "",
        "max_risk requires calibrated probabilities",
    ),
    ("classification", made(), {"calibrated": False, "prediction_set": 0.5}, "", "requires calibrated probabilities"),
    ("multilabel", made(), {"threshold": 0.2, "max_risk": 0.1}, "", "leave out threshold"),
    (
        "classification",
        None,
        {"threshold": 0.9},
        "wrong_task",
        "mood:1 predicts one label for each item; use abstain_below",
    ),
    ("regression", None, {"threshold": 0.9}, "wrong_task", "threshold applies only .* but mood:1 predicts numbers$"),
    ("regression", None, {"abstain_below": 0.5}, "wrong_task", "use prediction_set for an interval"),
]


@pytest.mark.parametrize(("task", "carried", "policy", "code", "message"), REFUSED)
def test_what_a_version_cannot_show_is_refused(
    task: str, carried: Calibration | None, policy: dict[str, Any], code: str, message: str
) -> None:
    with pytest.raises(InvalidRequest, match=message) as refused:
        decision_rule(version(carried, task), DecisionPolicy(**policy))
    assert not code or refused.value.code == code
    assert refused.value.param in policy


def test_calibrated_logits_give_the_calibrated_probabilities() -> None:
    rows = [[1.0, 2.0, -1.0]]
    assert calibrated(calibration(scale=[0.5]), rows) == [[0.5, 1.0, -0.5]]
    assert calibrated(calibration(scale=[0.5], bias=[1.0, 0.0, 2.0]), rows) == [[1.5, 1.0, 1.5]]
    assert calibrated(calibration(scale=[1.0, 2.0, 3.0]), rows) == [[1.0, 4.0, -3.0]]
    assert calibrated(calibration(scale=[]), rows) == rows
    assert activate(calibrated(calibration(scale=[1.0]), rows)[0], "classification") == activate(rows[0], "")
