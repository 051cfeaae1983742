"""The feature columns of a table are compared with those that a version stores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.training.data.feature_names import other_features
from tests.training.data.tables import read, write

TABLE = "a,b,value\n" + "".join(f"{n},{n * 2 % 7},{n * 0.5}\n" for n in range(20))


def stored(features: Any) -> dict[str, Any]:
    return {"data": {"report": {"columns": {"features": features}}}}


@pytest.mark.parametrize(
    ("training", "part"),
    [
        (stored(["b", "a"]), "set columns.features to 'b,a'"),
        (stored(["a", "c"]), "check that these columns contain the same quantities"),
        (stored(["a", "b"]), ""),
        (stored(["a", "b", "c"]), ""),  # another error reports the number of features
        (stored("features"), ""),
        (stored([1, 2]), ""),
        ({"data": []}, ""),
        ({}, ""),
    ],
)
def test_only_names_that_differ_are_warned_about(training: dict[str, Any], part: str, tmp_path: Path) -> None:
    layout = read(write(tmp_path, "a.csv", TABLE), value="value")[0]
    warning = other_features(training, "m:1", layout)
    assert part in warning and bool(warning) is bool(part)
