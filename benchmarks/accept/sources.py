"""The data sets of the acceptance checks, which are in the folder that ACCEPT_DATA names."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

from benchmarks.accept.record import Skip


def source(data: Path | None, name: str) -> Path:
    """Return the path of a data set. Raises Skip if it does not exist."""
    if data is None:
        raise Skip("ACCEPT_DATA is not set to the folder of the data sets")
    path = data / name
    if not path.exists():
        raise Skip(f"{name} is not in the folder that ACCEPT_DATA names")
    return path


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def majority(examples: list[dict[str, str]]) -> float:
    """Return the share of the most frequent label among the test rows."""
    counts = Counter(row["label"] for row in examples if row["split"] == "test")
    return max(counts.values()) / sum(counts.values())
