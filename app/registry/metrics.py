"""Reads the metrics of a checkpoint, and converts metrics to a form that JSON columns can store."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from app.checkpoint.directory import load_json
from app.errors import CheckpointInvalid

DEPTH = 32


def read_metrics(directory: Path) -> dict[str, Any]:
    """Read `metrics.json` in a checkpoint directory. Returns an empty dict if there is no such file.

    Raises CheckpointInvalid if the file does not contain a JSON object.
    """
    path = directory / "metrics.json"
    metrics = load_json(path) if path.exists() else {}
    if not isinstance(metrics, dict):
        raise CheckpointInvalid("metrics.json must contain a JSON object")
    return metrics


def finite(value: Any, depth: int = 0) -> Any:
    """Return a copy of `value` with None in place of NaN and infinity, which JSON cannot represent.

    Raises CheckpointInvalid if `value` is nested more than `DEPTH` levels deep.
    """
    if depth > DEPTH:
        raise CheckpointInvalid(f"metrics are nested more than {DEPTH} levels deep")
    if isinstance(value, dict):
        return {str(key): finite(inner, depth + 1) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner, depth + 1) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
