"""Reads the metrics of a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from app.checkpoint.directory import load_json
from app.errors import CheckpointInvalid


def read_metrics(directory: Path) -> dict[str, Any]:
    """Read `metrics.json` in a checkpoint directory. Returns an empty dict if there is no such file.

    Raises CheckpointInvalid if the file does not contain a JSON object.
    """
    path = directory / "metrics.json"
    metrics = load_json(path) if path.exists() else {}
    if not isinstance(metrics, dict):
        raise CheckpointInvalid("metrics.json must contain a JSON object")
    return metrics
