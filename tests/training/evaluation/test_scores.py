import numpy as np
import pytest

from app.training.evaluation.scores import metrics_of, score, widen
from app.training.prepare.dataset import Facts

FACTS = Facts("classification", "tokens", "rows", labels=["a", "b", "c"])


def test_unknown_labels_have_probability_zero() -> None:
    scores = score(FACTS, ["a", "b", "c"], np.asarray([[0.0, 0.0], [2.0, 0.0]]), np.asarray([2, 0]))
    assert scores.probabilities_NC is not None and scores.correct_N is not None
    np.testing.assert_allclose(scores.probabilities_NC[0], [0.5, 0.5, 0.0])
    assert scores.correct_N.tolist() == [False, True]
    assert scores.losses_N[0] > scores.losses_N[1]
    assert (scores.true(0), scores.predicted(1)) == (["c"], ["a"])


def test_the_loss_is_that_of_rows_with_known_labels() -> None:
    outputs, targets = np.asarray([[1.0, 0.0], [0.0, 1.0], [3.0, 0.0]]), np.asarray([0, 1, 2])
    metrics = metrics_of(FACTS, ["a", "b", "c"], outputs, targets)
    assert metrics["accuracy"] == pytest.approx(2 / 3)
    assert metrics["loss"] == pytest.approx(np.log1p(np.exp(-1.0)))
    only_unknown = metrics_of(FACTS, ["a", "b", "c"], outputs[2:], targets[2:])
    assert (only_unknown["accuracy"], only_unknown["loss"]) == (0.0, None)


def test_a_loss_of_fewer_rows_states_their_number() -> None:
    outputs, targets = np.asarray([[1.0, 0.0], [0.0, 1.0], [3.0, 0.0]]), np.asarray([0, 1, 2])
    assert metrics_of(FACTS, ["a", "b", "c"], outputs, targets)["loss_rows"] == 2
    assert "loss_rows" not in metrics_of(FACTS, ["a", "b", "c"], outputs[:2], targets[:2])
    facts = Facts("multilabel", "tokens", "rows", labels=["a", "b", "c"])
    many = metrics_of(facts, ["a", "b", "c"], outputs, np.asarray([[1, 0, 0], [0, 1, 1], [0, 0, 0]]))
    assert many["loss_rows"] == 2


def test_a_multilabel_row_is_right_if_every_label_is() -> None:
    facts = Facts("multilabel", "tokens", "rows", labels=["a", "b"])
    scores = score(facts, ["a", "b"], np.asarray([[5.0, -5.0], [5.0, 5.0]]), np.asarray([[1, 0], [1, 0]]))
    assert scores.correct_N is not None
    assert scores.correct_N.tolist() == [True, False]
    assert (scores.true(1), scores.predicted(1)) == (["a"], ["a", "b"])


def test_values_are_in_the_units_of_the_data() -> None:
    facts = Facts("regression", "tokens", "rows", target={"mean": 10.0, "std": 2.0})
    scores = score(facts, [], np.asarray([[1.0]]), np.asarray([0.5], dtype=np.float32))
    assert scores.values_N is not None
    assert (scores.values_N[0], scores.targets_N[0], scores.losses_N[0]) == (12.0, 11.0, 1.0)


def test_a_network_that_knows_all_labels_is_not_changed() -> None:
    outputs = np.asarray([[1.0, 2.0]])
    np.testing.assert_array_equal(widen(outputs, 2), outputs)
