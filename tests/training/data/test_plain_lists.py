"""Plain lists of numbers that are probably the features of one step are reported."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.training.data.scans import scan
from tests.training.data.tables import write


def remarks(folder: Path, features: Callable[[int], object]) -> dict[str, str]:
    rows = ({"features": features(n), "value": n * 1.5} for n in range(60))
    path = write(folder, "a.jsonl", "\n".join(map(json.dumps, rows)))
    return {kind: remark.message for kind, remark in scan(path, staging=folder)[1].items()}


@pytest.mark.parametrize(
    "features",
    [
        lambda n: [50 + n % 40, 1 + n % 4, 1950 + n],
        lambda n: [0.01 * (n % 7), 1000 + n % 50],
        lambda n: [25 + n % 30, 160 + n % 30, 60 + n % 5, 0],
    ],
)
def test_lists_of_different_quantities_are_told(features: Callable[[int], object], tmp_path: Path) -> None:
    message = remarks(tmp_path, features)["unlike_steps"]
    assert "probably different quantities (their means are " in message and "[[1, 2, 3]] instead of" in message


@pytest.mark.parametrize(
    "features",
    [
        lambda n: [math.sin(n + t / 3) for t in range(20)],  # readings
        lambda n: [t * 2 + n % 9 for t in range(6)],  # a rising sequence
        lambda n: [50, 1, 1950][: 1 + n % 3],  # different lengths
        lambda n: [[50 + n % 40, 1 + n % 4, 1950 + n]],  # one step
        lambda n: [5 + n % 3],
        lambda n: [1000 * (t % 2) + n % 5 for t in range(40)],  # long lists
    ],
)
def test_sequences_are_not_told(features: Callable[[int], object], tmp_path: Path) -> None:
    assert "unlike_steps" not in remarks(tmp_path, features)
