"""Writes the result files of a training run: `results.csv` and `metrics.json`."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from app.checkpoint import directory as checkpoint

COLUMNS = ("step", "train_loss", "train_accuracy", "valid_loss", "valid_mean_token_accuracy")
_NAMES = {"train_accuracy": "train_mean_token_accuracy"}


def write_csv(path: Path, history: list[dict[str, float]]) -> None:
    """Write one line per report. Cells without a value are empty."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for row in history:
            writer.writerow([_cell(row.get(_NAMES.get(column, column))) for column in COLUMNS])
    temporary.replace(path)


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def write_metrics(path: Path, metrics: dict[str, Any]) -> None:
    """Write all metrics of each split as JSON."""
    checkpoint.write_json(path, metrics)
