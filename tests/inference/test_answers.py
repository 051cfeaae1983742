"""Conversion of a head's outputs to the probabilities of a question's options."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.inference.answers import HeadOutput, LabelReading, ScaleReading, SelectionReading, confidence, expectation
from app.inference.scoring import sigmoid, softmax

LOGITS = st.lists(st.floats(-50, 50), min_size=4, max_size=4)


@given(LOGITS)
def test_the_order_of_the_options_changes_no_bit(logits: list[float]) -> None:
    output = HeadOutput(logits, softmax(logits))
    plain = SelectionReading((0, 1, 3)).probabilities(output)
    for order in itertools.permutations(range(3)):
        reading = SelectionReading(tuple((0, 1, 3)[i] for i in order))
        shares = reading.probabilities(output)
        assert shares == [plain[i] for i in order]
        assert reading.indices[reading.best(shares)] == SelectionReading((0, 1, 3)).indices[plain.index(max(plain))]


@given(LOGITS)
def test_all_labels_have_the_probabilities_of_the_classification(logits: list[float]) -> None:
    assert SelectionReading((0, 1, 2, 3)).probabilities(HeadOutput(logits, [])) == softmax(logits)


@given(LOGITS)
def test_some_labels_are_restricted_and_renormalised(logits: list[float]) -> None:
    probabilities = softmax(logits)
    rest = probabilities[1] + probabilities[2]
    shares = SelectionReading((2, 1)).probabilities(HeadOutput(logits, probabilities))
    if rest > 1e-30:
        assert shares == pytest.approx([probabilities[2] / rest, probabilities[1] / rest], abs=1e-9)
    assert sum(shares) == pytest.approx(1)  # also where both probabilities are too small to be divided


def test_independent_probabilities_are_conditioned_on_one_label() -> None:
    logits = [0.0, 2.0, -1.0]
    p, q, _ = sigmoid(logits)
    alone = p * (1 - q) / (p * (1 - q) + q * (1 - p))
    shares = SelectionReading((0, 1)).probabilities(HeadOutput(logits, sigmoid(logits)))
    assert shares == pytest.approx([alone, 1 - alone])
    assert LabelReading(1).probabilities(HeadOutput(logits, sigmoid(logits))) == [q]


@given(st.floats(-10, 10))
def test_a_value_spreads_over_the_levels_next_to_it(value: float) -> None:
    levels = (1.0, 2.0, 5.0)
    shares = ScaleReading(levels).probabilities(HeadOutput([value], []))
    assert sum(shares) == pytest.approx(1) and sum(share > 0 for share in shares) <= 2
    mean = sum(level * share for level, share in zip(levels, shares, strict=True))
    assert mean == pytest.approx(min(max(value, 1.0), 5.0))
    assert ScaleReading((5.0, 1.0, 2.0)).probabilities(HeadOutput([value], [])) == [shares[2], shares[0], shares[1]]


def test_a_scale_may_have_one_level() -> None:
    assert ScaleReading((3.0,)).probabilities(HeadOutput([8.0], [])) == [1.0]


def test_confidence_is_what_exceeds_chance() -> None:
    assert confidence([0.25] * 4) == 0 and confidence([1.0, 0.0]) == 1 and confidence([1.0]) == 1
    assert confidence([0.625, 0.125, 0.125, 0.125]) == pytest.approx(0.5)


def test_the_expectation_weighs_the_positions() -> None:
    assert expectation([0.25, 0.5, 0.25]) == 1.0 and isinstance(expectation([1.0]), float)
