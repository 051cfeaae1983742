"""The section of the model card about the calibration."""

from __future__ import annotations

from typing import Any

import pytest

from app.checkpoint.calibration import APART, CROSS_FITTED, Calibration, ConformalScores, Reliability
from app.training.report.trust import summary


def made(rows: int = 1000, method: str = CROSS_FITTED, **changes: Any) -> Calibration:
    values: dict[str, Any] = {
        "format_version": 1, "rows": rows, "method": method, "scale": [0.8], "bias": [],
        "scores": ConformalScores(rows, [0.5]), "before": Reliability(0.1041, []), "after": Reliability(0.0212, []),
    }  # fmt: skip
    return Calibration(**values | changes)


def test_the_errors_are_shown_if_there_are_enough_rows() -> None:
    assert summary(made(), selects=True) == (
        "probabilities calibrated on 1,000 held-out rows, each scored by the checkpoint that is best on the other "
        "folds of these rows: scale 0.8; expected calibration error 10.4% before, 2.1% after"
    )
    few = summary(made(rows=95), selects=True)
    assert few.endswith("scale 0.8; too few rows to measure the calibration error") and "0.104" not in few


@pytest.mark.parametrize("method", [CROSS_FITTED, APART])
def test_no_checkpoint_was_chosen_if_the_last_weights_are_kept(method: str) -> None:
    sentence = summary(made(rows=38, method=method), selects=False)
    assert "checkpoint" not in sentence and "chose" not in sentence
    assert ("n-gram branch" in sentence) == (method == CROSS_FITTED)
    assert "checkpoint" in summary(made(rows=38, method=method), selects=True)
