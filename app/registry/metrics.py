"""The figures that come with a checkpoint, made fit for a JSON column. Knows nothing of what they measure."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from app.checkpoint.directory import load_json
from app.errors import CheckpointInvalid

DEPTH = 32


def of_directory(directory: Path) -> dict[str, Any]:
    path = directory / "metrics.json"
    found = load_json(path) if path.exists() else {}
    if not isinstance(found, dict):
        raise CheckpointInvalid("metrics.json must hold a JSON object")
    return found


def finite(value: Any, depth: int = 0) -> Any:
    """JSON has no NaN and no infinity: such a figure is null."""
    if depth > DEPTH:
        raise CheckpointInvalid(f"metrics are nested more than {DEPTH} deep")
    if isinstance(value, dict):
        return {str(key): finite(inner, depth + 1) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner, depth + 1) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
