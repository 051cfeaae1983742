"""The cells of a table that contain predictions."""

from __future__ import annotations

import pytest

from app.cli.predictions import LabelCounts, answers_of, columns_of


@pytest.mark.parametrize(
    ("score", "shown"), [(0.1234, "0.123"), (0.9994, "0.999"), (0.99999, "0.999"), (1.0, "1.000"), (0.0, "0.000")]
)
def test_only_a_score_of_exactly_1_is_shown_as_certain(score: float, shown: str) -> None:
    scores = [{"label": "good", "score": score}]
    good = {"label": "good", "scores": scores}
    assert answers_of([good]) == answers_of([good], top_k=1) == (["label", "score"], [["good", shown]])
    assert answers_of([good | {"labels": ["good"]}]) == (["labels and scores"], [[f"good {shown}"]])
    unsure = {"label": None, "abstained": True, "scores": scores}
    assert answers_of([unsure, None]) == (["label", "score"], [["(no answer)", shown], ["", ""]])
    assert answers_of([unsure], top_k=2)[1] == [[f"(no answer) {shown}"]]


def test_rows_without_a_label_are_counted_by_reason() -> None:
    counts = LabelCounts()
    for item in (None, {"labels": []}, {"labels": ["a"]}, {"label": None, "abstained": True}, {"value": 1.5}):
        counts.add(item)
    assert counts.sentence({"abstain_below": 0.5}) == (
        "1 of 5 rows has no label, because the highest score is too low for --abstain-below 0.5; 1 of 5 rows has no "
        "label, because no score reaches the threshold"
    )
    assert LabelCounts(rows=5).sentence({}) == ""


def test_saved_numbers_have_the_precision_of_the_network() -> None:
    assert columns_of({"value": 9.59000015258789, "interval": [0.10000000149011612, 2e9 + 0.5]}, None) == {
        "value": 9.59, "interval": [0.1, 2e9 + 0.5],
    }  # fmt: skip
    scores = [{"label": "a", "score": 0.699999988079071}, {"label": "b", "score": 0.30000001192092896}]
    assert columns_of({"label": "a", "scores": scores}, 2) == {"label": ["a", "b"], "score": [0.7, 0.3]}
