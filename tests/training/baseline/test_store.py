from pathlib import Path

import numpy as np

from app.training.baseline import store
from app.training.baseline.result import Fitted, Predictions


def test_a_baseline_is_loaded_as_it_was_saved(tmp_path: Path) -> None:
    report = {"model": "linear", "splits": {"test": {"rows": 3, "accuracy": 2 / 3}, "validation": {"rows": 1}}}
    predictions = Predictions(np.asarray([0, 2, 5]), np.asarray([1, 0, 1]))
    store.save(tmp_path, Fitted(report, {"test": predictions}))
    loaded = store.load(tmp_path)
    assert loaded is not None
    assert loaded.report == report
    assert list(loaded.predictions) == ["test"]
    np.testing.assert_array_equal(loaded.predictions["test"].rows_N, predictions.rows_N)
    np.testing.assert_array_equal(loaded.predictions["test"].predicted_N, predictions.predicted_N)


def test_an_incomplete_baseline_is_absent(tmp_path: Path) -> None:
    (tmp_path / ".baseline.tmp").mkdir()
    assert store.load(tmp_path) is None
    store.save(tmp_path, Fitted({"reason": "because"}))
    loaded = store.load(tmp_path)
    assert loaded is not None
    assert loaded.reason == "because"
