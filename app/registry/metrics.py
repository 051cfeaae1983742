"""Reads the metrics of a checkpoint, and reduces them to what the registry stores with a version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from app import strict_json
from app.checkpoint.directory import load_json
from app.errors import CheckpointInvalid

LIMIT = 256 * 1024  # bytes of the metrics of one version, as JSON
OMITTED = "omitted"  # the field that lists the paths of parts that only the file metrics.json has
PATHS_LIMIT = 100


def read_metrics(directory: Path) -> dict[str, Any]:
    """Read `metrics.json` in a checkpoint directory. Returns an empty dict if there is no such file.

    Raises CheckpointInvalid if the file does not contain a JSON object.
    """
    path = directory / "metrics.json"
    metrics = load_json(path) if path.exists() else {}
    if not isinstance(metrics, dict):
        raise CheckpointInvalid("metrics.json must hold a JSON object")
    return metrics


def reduce(metrics: dict[str, Any]) -> dict[str, Any]:
    """Return metrics that a reply can contain, of about `LIMIT` bytes or less.

    The values are mended with `strict_json.mend`. If they are too large, the largest parts are left out, such as a
    confusion matrix of hundreds of labels; `omitted` lists the paths of the first hundred.
    """
    mended: dict[str, Any] = strict_json.mend(metrics)
    if _size(mended) <= LIMIT:
        return mended
    omitted: list[str] = []
    return {**_fit(mended, LIMIT, "", omitted), OMITTED: omitted}


def _fit(part: dict[str, Any], room: int, path: str, omitted: list[str]) -> dict[str, Any]:
    """Keep the smallest fields of an object that fit into `room` bytes, and what fits of the objects among the rest."""
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
