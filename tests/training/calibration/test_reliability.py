"""The expected calibration error."""

from __future__ import annotations

import numpy as np
import pytest

from app.training.calibration.reliability import answers, decisions, reliability, sigmoid


def test_the_error_by_hand() -> None:
    """The last bin has two rows with a mean score of 0.92, of which one is right. The second bin has one row, which is
    wrong."""
    diagram = reliability(np.asarray([0.84, 1.0, 0.2]), np.asarray([True, False, False]), bins=5)
    assert diagram.ece == pytest.approx((2 * 0.42 + 0.2) / 3)
    assert [bin.rows for bin in diagram.bins] == [0, 1, 0, 0, 2]
    assert diagram.bins[4].confidence == pytest.approx(0.92) and diagram.bins[4].accuracy == 0.5


def test_scores_that_come_true_as_often_as_they_say_have_almost_no_error() -> None:
    random = np.random.default_rng(5)
    scores_N = random.random(50_000)
    assert reliability(scores_N, random.random(50_000) < scores_N).ece < 0.01
    assert reliability(scores_N, random.random(50_000) < scores_N**2).ece > 0.1


def test_an_answer_with_several_labels_is_as_sure_as_its_least_sure_decision() -> None:
    probs_NC, targets_NC = np.asarray([[0.9, 0.2], [0.6, 0.4]]), np.asarray([[1, 0], [1, 1]])
    scores_N, right_N = answers("multilabel", probs_NC, targets_NC)
    assert scores_N.tolist() == [0.8, 0.6] and right_N.tolist() == [True, False]
    events, true = decisions("multilabel", probs_NC, targets_NC)
    assert events.tolist() == [0.9, 0.2, 0.6, 0.4] and true.tolist() == [True, False, True, True]


def test_extreme_logits_give_probabilities() -> None:
    assert sigmoid(np.asarray([-1000.0, 0.0, 1000.0])).tolist() == [0.0, 0.5, 1.0]
