"""Cells with predictions."""

from __future__ import annotations

import pytest

from app.cli.predictions import label_and_score


@pytest.mark.parametrize(
    ("score", "shown"), [(0.1234, "0.123"), (0.9994, "0.999"), (0.99999, "0.999"), (1.0, "1.000"), (0.0, "0.000")]
)
def test_only_a_score_of_exactly_1_is_shown_as_certain(score: float, shown: str) -> None:
    scores = [{"label": "good", "score": score}]
    assert label_and_score({"label": "good", "scores": scores}) == ("good", shown)
    assert label_and_score({"label": "good", "scores": scores}, top_k=1) == ("good", shown)
    assert label_and_score({"label": "good", "labels": ["good"], "scores": scores}) == ("good", shown)
    assert label_and_score({"label": None, "abstained": True, "scores": scores}) == ("(no answer)", shown)
