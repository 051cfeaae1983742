"""calibration.json: quantiles, thresholds and invalid files."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.checkpoint import directory as checkpoint
from app.checkpoint.calibration import APART, FILE, FORMAT_VERSION, Calibration, ConformalScores, RiskLevel
from app.errors import CheckpointInvalid
from app.training.calibration.conformal import scores
from tests.checkpoints import make_checkpoint

LEVELS = [RiskLevel(0.9, 0.25, 0.01, 0.04), RiskLevel(0.6, 0.5, 0.03, 0.03), RiskLevel(0.2, 1.0, 0.1, 0.15)]


def calibration(**changes: Any) -> Calibration:
    values = {"format_version": FORMAT_VERSION, "rows": 3, "method": APART, "scale": [0.5], "bias": []}
    return Calibration(**({**values, "scores": ConformalScores(3, [0.1, 0.2, 0.3])} | changes))


def test_a_quantile_is_the_score_of_the_conformal_rank() -> None:
    nine = ConformalScores(9, [n / 10 for n in range(1, 10)])
    assert nine.quantile(0.9) == 0.9 and nine.quantile(0.5) == 0.5 and nine.quantile(0.41) == 0.5
    assert nine.quantile(0.91) is None


@given(st.integers(1, 400), st.integers(1, 50), st.floats(0.001, 0.999))
def test_thinned_scores_never_give_a_smaller_quantile(rows: int, most: int, coverage: float) -> None:
    import numpy as np

    values = np.arange(1.0, rows + 1)
    whole, thinned = scores(values, rows).quantile(coverage), scores(values, most).quantile(coverage)
    assert (whole is None) == (thinned is None)
    if whole is not None and thinned is not None:
        assert whole <= thinned <= whole + math.ceil(rows / min(rows, most))


def test_single_labels_are_used_if_each_has_enough_rows() -> None:
    own = [ConformalScores(3, [0.1, 0.2, 0.3]), ConformalScores(9, [n / 10 for n in range(1, 10)])]
    both = calibration(scores=ConformalScores(12, [0.05] * 12), label_scores=own)
    assert both.quantiles(0.5, 2) == [0.2, 0.5]
    assert both.quantiles(0.9, 2) == [0.05, 0.05]
    assert both.quantiles(0.95, 2) is None


def test_levels_are_tested_in_order_until_one_fails() -> None:
    levels = [RiskLevel(0.9, 0.25, 0.01, 0.04), RiskLevel(0.6, 0.5, 0.03, 0.06), RiskLevel(0.2, 1.0, 0.1, 0.05)]
    many, few = calibration(rows=1000, risk=levels), calibration(rows=200, risk=levels)
    assert many.level(0.04) == levels[0] and many.level(0.05) == levels[0] and many.level(0.06) == levels[2]
    assert many.level(0.03) is None and many.least_risk == 0.04
    assert few.level(0.05) == levels[2], "the first two have too few rows to be tested at this risk"
    assert few.least_risk == 0.05 and calibration().least_risk == 1.0


def written(folder: Path, change: Callable[[dict[str, Any]], None], **config: Any) -> checkpoint.Checkpoint:
    directory = make_checkpoint(folder / "x", **config)
    value = msgspec.to_builtins(calibration(risk=LEVELS))
    change(value)
    checkpoint.write_json(directory / FILE, value)
    return checkpoint.validate(directory)


def test_a_checkpoint_carries_its_calibration(tmp_path: Path) -> None:
    assert written(tmp_path, lambda value: None).calibration == calibration(risk=LEVELS)
    assert checkpoint.validate(make_checkpoint(tmp_path / "without")).calibration is None


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "unknown field": (lambda v: v.update(more=1), "unknown field `more`"),
    "no method": (lambda v: v.pop("method"), "required field `method`"),
    "text": (lambda v: v.update(scale=["1"]), r"`\$.scale\[0\]`"),
    "version": (lambda v: v.update(format_version=2), "format_version must be 1"),
    "method": (lambda v: v.update(method="guess"), "method must be cross-fitted or apart"),
    "scale": (lambda v: v.update(scale=[0.0]), "scale must be above 0"),
    "scales": (lambda v: v.update(scale=[1.0] * 3), "scale must have one entry, or one per label"),
    "bias": (lambda v: v.update(bias=[1.0]), "bias must have one entry per label, or none"),
    "order": (lambda v: v["scores"].update(values=[0.2, 0.1]), "scores must be in ascending order"),
    "too many": (lambda v: v["scores"].update(values=[0.1] * 4), "at most one per row"),
    "empty": (lambda v: v["scores"].update(values=[]), "scores must have 1 to 2000 values"),
    "labels": (lambda v: v.update(label_scores=[v["scores"]]), "label_scores must have one entry per label"),
    "shares": (lambda v: v["risk"][0].update(bound=1.5), "the numbers in risk must be from 0 to 1"),
    "levels": (lambda v: v["risk"].reverse(), "risk must begin with the strictest level"),
    "confidence": (lambda v: v.update(confidence=1.0), "confidence must be above 0 and below 1"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_an_invalid_calibration_is_refused(tmp_path: Path, case: str) -> None:
    change, message = CHANGES[case]
    with pytest.raises(CheckpointInvalid, match=f"^calibration.json.*{message}"):
        written(tmp_path, change)


def test_it_must_suit_the_task(tmp_path: Path) -> None:
    with pytest.raises(CheckpointInvalid, match="does not belong in a checkpoint for generation"):
        written(tmp_path / "a", lambda value: None, task="generation", labels=(), classes=0)
    with pytest.raises(CheckpointInvalid, match="scale must have one entry"):
        written(tmp_path / "b", lambda value: None, task="regression", labels=(), classes=1)
