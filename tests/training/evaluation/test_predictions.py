"""The CSV file to which an evaluation writes its predictions."""

from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from app.training.data.example import Example, Target
from app.training.evaluation.predictions import write
from app.training.evaluation.scores import Scores


def test_series_keep_their_names_and_values_have_no_noise(tmp_path: Path) -> None:
    examples = [
        Example("line 2", features_TF=np.zeros((2, 1)), target=Target(value=9.59), series="pump 7"),
        Example("line 9", features_TF=np.zeros((2, 1)), target=Target(value=0.1), series="pump 8"),
    ]
    files = SimpleNamespace(training=SimpleNamespace(shape="series"), examples=lambda: iter(examples))
    held_out: Any = SimpleNamespace(files=files, chosen_N=np.ones(2, dtype=bool))
    values_N = np.asarray([9.5, 0.1], dtype=np.float32).astype(np.float64)
    targets_N = np.asarray([9.59, 0.1], dtype=np.float32).astype(np.float64)
    scores = Scores([], targets_N, None, values_N, (values_N - targets_N) ** 2, None)
    mistakes = write(tmp_path / "p.csv", held_out, scores, None)
    with (tmp_path / "p.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["row"], row["series"], row["value"], row["predicted"]) for row in rows] == [
        ("line 2", "pump 7", "9.59", "9.5"), ("line 9", "pump 8", "0.1", "0.1"),
    ]  # fmt: skip
    assert mistakes[0] == {"where": "line 2", "text": "", "series": "pump 7", "value": 9.59, "predicted": 9.5}
