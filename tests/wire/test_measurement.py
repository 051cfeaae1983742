"""The minimum number of rows for a meaningful metric."""

from __future__ import annotations

from app.wire.measurement import (
    CALIBRATION_ERROR_ROWS,
    MEASURABLE_ROWS,
    shown_metrics,
    shows_calibration_error,
    too_few,
    verdict,
)  # fmt: skip


def test_a_split_of_a_few_rows_measures_nothing() -> None:
    assert too_few(0) and too_few(MEASURABLE_ROWS - 1) and not too_few(MEASURABLE_ROWS)
    assert too_few(4.0) and not too_few(20.0)
    assert [verdict(1), verdict(2), verdict(4.0)] == [
        "1 row: too few for meaningful metrics",
        "2 rows: too few for meaningful metrics",
        "4 rows: too few for meaningful metrics",
    ]


def test_metrics_of_too_few_rows_are_replaced_by_the_verdict() -> None:
    metrics = {"accuracy": 1.0, "macro_f1": 0.5}
    assert shown_metrics(metrics) == shown_metrics(metrics | {"rows": 20.0}) == "accuracy 1.000, macro f1 0.500"
    assert shown_metrics(metrics | {"rows": 2.0}) == verdict(2)


def test_versions_without_a_number_of_rows_are_shown_as_before() -> None:
    assert not too_few(None) and not too_few(True) and not too_few("2")


def test_a_calibration_error_needs_more_rows() -> None:
    assert not shows_calibration_error(CALIBRATION_ERROR_ROWS - 1)
    assert shows_calibration_error(CALIBRATION_ERROR_ROWS) and shows_calibration_error(None)


def test_a_regression_that_is_worse_than_the_mean_is_told() -> None:
    worse = "r2 -2.085 (worse than always predicting the mean), mae 3.000"
    assert shown_metrics({"r2": -2.085, "mae": 3.0}) == worse
    assert shown_metrics({"r2": 0.5, "loss": -1.0}) == "r2 0.500, loss -1.000"
