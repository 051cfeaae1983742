"""Stores a fitted baseline in the run directory, so that later attempts need not fit it again.

    baseline/report.json    baseline/<split>.rows.npy, <split>.predicted.npy

The directory is either complete or absent.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np

from app.checkpoint import directory as checkpoint
from app.training.baseline.result import Fitted, Predictions

_REPORT = "report.json"


def directory_of(run: Path) -> Path:
    """Return the directory of a run's baseline."""
    return run / "baseline"


def save(run: Path, fitted: Fitted) -> None:
    """Write the baseline of a run."""
    directory = directory_of(run)
    temporary = directory.with_name(".baseline.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    checkpoint.write_json(temporary / _REPORT, fitted.report)
    for name, predictions in fitted.predictions.items():
        np.save(temporary / f"{name}.rows.npy", predictions.rows_N)
        np.save(temporary / f"{name}.predicted.npy", predictions.predicted_N)
    shutil.rmtree(directory, ignore_errors=True)
    os.rename(temporary, directory)
    checkpoint.sync_directory(run)


def load(run: Path) -> Fitted | None:
    """Load the baseline of a run. Returns None if the baseline has not been fitted yet."""
    directory = directory_of(run)
    if not directory.is_dir():
        return None
    report = json.loads((directory / _REPORT).read_text())
    predictions = {
        name: Predictions(np.load(directory / f"{name}.rows.npy"), np.load(directory / f"{name}.predicted.npy"))
        for name in report.get("splits", {})
        if (directory / f"{name}.rows.npy").exists()
    }
    return Fitted(report, predictions)
