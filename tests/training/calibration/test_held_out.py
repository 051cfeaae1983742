"""The rows that may be used for the calibration."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from app.checkpoint.calibration import APART, CROSS_FITTED
from app.training.calibration.held_out import held_out_rows
from app.training.loop.batches import spaced
from tests.training.loop.test_crossfit import ROWS, TARGETS, crossfit, evaluations, observe
from tests.training.loops import settled

FINAL = np.arange(3.0 * ROWS).reshape(ROWS, 3)


def training(fit: Any, **changes: Any) -> Any:
    """A fake training run, which has only the attributes that the choice of the rows uses."""
    return SimpleNamespace(settled=settled(**changes), crossfit=fit)


def test_rows_that_all_had_a_part_in_the_choice_are_cross_fitted() -> None:
    fit = crossfit()
    run = training(fit, metric="macro_f1", eval_rows=None)
    assert held_out_rows(run, (FINAL, TARGETS)) is None
    observe(fit, evaluations(4))
    rows = held_out_rows(run, (FINAL, TARGETS))
    assert rows is not None and rows.method == CROSS_FITTED
    np.testing.assert_array_equal(rows.outputs_NC, fit.outputs_MC)


def test_rows_that_no_evaluation_used_are_free() -> None:
    changes = {"metric": "macro_f1", "eval_rows": 150}
    rows = held_out_rows(training(crossfit(**changes), **changes), (FINAL, TARGETS))
    assert rows is not None and rows.method == APART
    used = set(spaced(ROWS, 150).tolist())
    assert set((rows.outputs_NC[:, 0] / 3).astype(int).tolist()) == set(range(ROWS)) - used


def test_all_rows_are_free_if_the_last_weights_are_kept() -> None:
    rows = held_out_rows(training(crossfit(metric="last"), metric="last", eval_rows=None), (FINAL, TARGETS))
    assert rows is not None and rows.method == APART
    np.testing.assert_array_equal(rows.outputs_NC, FINAL)
