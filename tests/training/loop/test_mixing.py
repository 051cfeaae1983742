"""The weights with which a network and its n-gram branch are mixed minimise the loss on the validation rows."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from app.training.loop import mixing


def outputs(task: str, rows: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.generic]]:
    """Random outputs of two useful parts with different errors, and the targets."""
    random = np.random.default_rng(rows)
    width = {"classification": 4, "multilabel": 3, "regression": 1}[task]
    signal_NC = random.normal(size=(rows, width))
    if task == "classification":
        targets: NDArray[np.generic] = (signal_NC + random.gumbel(size=signal_NC.shape)).argmax(1)
    elif task == "multilabel":
        targets = (signal_NC + random.logistic(size=signal_NC.shape) > 0).astype(np.uint8)
    else:
        targets = signal_NC[:, 0] + 0.1 * random.normal(size=rows)
    return signal_NC + random.normal(size=signal_NC.shape), signal_NC + random.normal(size=signal_NC.shape), targets


def loss(task: str, outputs_NC: NDArray[np.float64], targets: NDArray[np.generic]) -> float:
    if task == "classification":
        return float((np.logaddexp.reduce(outputs_NC, 1) - outputs_NC[np.arange(len(targets)), targets]).sum())
    if task == "multilabel":
        return float((np.logaddexp(0, outputs_NC) - targets * outputs_NC).sum())
    return float(((outputs_NC[:, 0] - targets) ** 2).sum() / 2)


@pytest.mark.parametrize("task", ["classification", "multilabel", "regression"])
def test_no_other_weights_have_a_lower_loss(task: str) -> None:
    network_NC, branch_NC, targets = outputs(task, 3000)
    weights = mixing.fit(task, network_NC, branch_NC, targets)

    def regularised(pair: NDArray[np.float64]) -> float:
        prior = mixing.PRIOR_ROWS * float(((pair - mixing.EQUAL) ** 2).sum()) / 2
        return loss(task, pair[0] * network_NC + pair[1] * branch_NC, targets) + prior

    least = regularised(weights)
    assert weights.min() > 0.1
    for change in np.array([[1, 0], [0, 1], [1, 1], [1, -1]]) * 0.02:
        assert regularised(weights + change) > least
        assert regularised(weights - change) > least


@pytest.mark.parametrize("task", ["classification", "multilabel", "regression"])
def test_a_part_that_is_wrong_is_left_out(task: str) -> None:
    network_NC, branch_NC, targets = outputs(task, 2000)
    weights = mixing.fit(task, -network_NC, branch_NC, targets)
    assert weights[0] == 0
    assert weights[1] > 0


def test_few_rows_hardly_move_the_weights() -> None:
    network_NC, branch_NC, targets = outputs("classification", 3)
    assert np.abs(mixing.fit("classification", network_NC, branch_NC, targets) - mixing.EQUAL).max() < 0.5


def test_extreme_outputs_give_finite_weights() -> None:
    network_NC, branch_NC, targets = outputs("classification", 200)
    weights = mixing.fit("classification", 1e4 * network_NC, 1e-4 * branch_NC, targets)
    assert np.isfinite(weights).all()
    assert weights.min() >= 0
