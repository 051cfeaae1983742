"""Chooses the rows for calibrating the version that a training run has produced. Test rows are never used."""

from __future__ import annotations

import numpy as np

from app.checkpoint.calibration import APART, CROSS_FITTED
from app.training.baseline.comparison import OutputsAndTargets
from app.training.calibration.calibrate import CalibrationRows
from app.training.loop.batches import spaced
from app.training.loop.crossfit import most_rows
from app.training.loop.loop import Training


def held_out_rows(training: Training, validation: OutputsAndTargets) -> CalibrationRows | None:
    """Return validation rows, with outputs that these rows did not influence, or None if there are none.

    `validation` contains the outputs of the final weights for all validation rows. There are three cases:

    - If the evaluations used all validation rows to choose the checkpoint, or to fit the weights of an n-gram branch,
      returns the outputs that `CrossFit` has kept.
    - If the evaluations used only a sample of the validation rows, returns the other rows.
    - If the weights of the last step are used, no row was used to choose them, and all rows are returned.

    At most `most_rows` rows are returned, evenly spaced.
    """
    settled, crossfit, (outputs_NC, targets) = training.settled, training.crossfit, validation
    if crossfit.enabled:
        if not crossfit.complete:
            return None
        return CalibrationRows(crossfit.outputs_MC.astype(np.float64), targets[crossfit.rows_M], CROSS_FITTED)
    free_N = np.arange(len(targets))
    if settled.metric != "last":
        free_N = np.setdiff1d(free_N, spaced(len(targets), settled.eval_rows))
    kept_M = free_N[spaced(len(free_N), most_rows(outputs_NC.shape[1]))]
    return CalibrationRows(outputs_NC[kept_M], targets[kept_M], APART) if len(kept_M) else None
