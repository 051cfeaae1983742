"""Reads a checkpoint's metrics, and reduces them to the size that the registry stores with a version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from app import strict_json
from app.checkpoint.directory import load_json
from app.errors import CheckpointInvalid

LIMIT = 256 * 1024  # maximum size in bytes of a version's metrics, as JSON
OMITTED = "omitted"  # the field that lists the paths of the parts that were left out
PATHS_LIMIT = 100


def read_metrics(directory: Path) -> dict[str, Any]:
    """Read `metrics.json` in a checkpoint directory. Returns an empty dict if there is no such file.

    Raises CheckpointInvalid if the file does not contain a JSON object.
    """
    path = directory / "metrics.json"
    metrics = load_json(path) if path.exists() else {}
    if not isinstance(metrics, dict):
        raise CheckpointInvalid("metrics.json must contain a JSON object")
    return metrics


def reduce(metrics: dict[str, Any], limit: int = LIMIT) -> dict[str, Any]:
    """Reduce metrics to about `limit` bytes of values that can be encoded in a reply.

    The values are mended with `strict_json.mend`. If the metrics are too large, their largest parts, such as a
    confusion matrix of hundreds of labels, are left out. `omitted` lists the paths of the first hundred parts left out.
    """
    mended: dict[str, Any] = strict_json.mend(metrics)
    if _size(mended) <= limit:
        return mended
    omitted: list[str] = []
    return {**_fit(mended, limit, "", omitted), OMITTED: omitted}


def _fit(part: dict[str, Any], room: int, path: str, omitted: list[str]) -> dict[str, Any]:
    """Keep an object's smallest fields, up to a total of `room` bytes. Objects in its other fields are reduced."""
    kept: dict[str, Any] = {}
    for size, name in sorted((_size({name: value}), name) for name, value in part.items()):
        value, empty = part[name], _size({name: {}})
        if size <= room:
            kept[name] = value
        elif isinstance(value, dict) and empty <= room:
            kept[name] = _fit(value, room - empty, f"{path}{name[:80]}.", omitted)
        elif len(omitted) < PATHS_LIMIT:
            omitted.append(f"{path}{name[:80]}")
        room -= _size({name: kept[name]}) if name in kept else 0
    return {name: kept[name] for name in part if name in kept}


def _size(value: object) -> int:
    return len(msgspec.json.encode(value))
