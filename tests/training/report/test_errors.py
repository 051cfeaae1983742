"""The error of each row, with which the trials of an auto job are compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from app.training.report import errors


@pytest.mark.parametrize(
    ("task", "outputs_NC", "targets", "expected"),
    [
        ("classification", [[2.0, 1.0], [0.0, 3.0]], np.array([0, 0]), [0.0, 1.0]),
        ("multilabel", [[2.0, -1.0], [-2.0, -1.0]], np.array([[1, 0], [1, 0]]), [0.0, 0.5]),
        ("regression", [[0.5], [-1.0]], np.array([0.5, 1.0]), [0.0, 4.0]),
    ],
)
def test_each_row_has_an_error(
    task: str, outputs_NC: list[list[float]], targets: NDArray[np.float64], expected: list[float], tmp_path: Path
) -> None:
    errors.write(tmp_path / "errors.npy", errors.of_rows(task, np.array(outputs_NC), targets))
    written = np.load(tmp_path / "errors.npy", allow_pickle=False)
    assert (written.dtype, written.tolist()) == (np.float32, expected)
    assert [path.name for path in tmp_path.iterdir()] == ["errors.npy"]
