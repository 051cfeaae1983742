"""The choice of the best trial of an auto job."""

from __future__ import annotations

import numpy as np

from app.worker.choice import Candidate, choose

GOOD, BAD = np.asarray([0.0] * 9 + [1.0]), np.asarray([0.0, 1.0] * 5)
LINEAR, GRU = Candidate("linear", 9000, GOOD), Candidate("gru", 500, GOOD[::-1])


def test_equal_trials_are_called_equal() -> None:
    choice = choose([LINEAR, GRU])
    assert (choice.chosen, choice.reason) == (
        0, "linear and gru have the same validation error, and linear is the smaller"
    )  # fmt: skip
    choice = choose([Candidate("rnn", 10, BAD), GRU, LINEAR])
    assert choice.reason == (
        "gru and linear have the same validation error, the lowest of 3 trials, and linear is the smaller"
    )


def test_the_lowest_error_wins_if_it_is_lower() -> None:
    choice = choose([Candidate("rnn", 10, BAD), LINEAR])
    assert choice.reason == "linear has the lowest validation error of 2 trials, and no trial is smaller"
