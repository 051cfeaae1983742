"""Defines the minimum numbers of rows for a meaningful metric or calibration error, and for choosing a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

from app.wording import quantity

# With a perfect score on 20 rows, the true error rate may still be up to 14 % (about 3/n, the "rule of three" at 95 %).
# With a perfect score on 2 rows, it may still be up to 78 %.
MEASURABLE_ROWS = 20
SELECTING_ROWS = 50  # evaluations on fewer held-out rows cannot be compared; docs/log.md contains the measurements
# The expected calibration error of perfectly calibrated probabilities averages 0.04 on 200 rows, and 0.09 on 40 rows.
CALIBRATION_ERROR_ROWS = 200


def too_few(rows: object) -> TypeGuard[float]:
    """Whether `rows` is too small for a meaningful metric.

    Returns False for None, because older versions do not have this number. The number may be a float, because older
    versions' events contain only floats.
    """
    return isinstance(rows, int | float) and not isinstance(rows, bool) and rows < MEASURABLE_ROWS


def shows_calibration_error(rows: object) -> bool:
    """Whether a calibration error measured on `rows` rows is meaningful.

    Returns True for None, because older versions do not have this number.
    """
    return not isinstance(rows, int | float) or rows >= CALIBRATION_ERROR_ROWS


def verdict(rows: float) -> str:
    """Return the text to show instead of metrics measured on too few rows."""
    return f"{quantity(int(rows), 'row')}: too few for meaningful metrics"


def shown_metrics(metrics: Mapping[str, Any], form: str = ".3f") -> str:
    """Return the metrics with their names: `accuracy 0.900, loss 0.250`.

    If the metrics come from too few rows, returns the text of `verdict` instead. `metrics` may contain an entry `rows`,
    the number of rows, which is not shown. `form` is a format specification.
    """
    rows = metrics.get("rows")
    if too_few(rows):
        return verdict(rows)
    return ", ".join(shown_metric(name, value, form) for name, value in metrics.items() if name != "rows")


def shown_metric(name: str, value: float, form: str = ".3f") -> str:
    """Return a metric with its name: `r2 -2.085 (worse than always predicting the mean)`."""
    text = f"{name.replace('_', ' ')} {value:{form}}"
    return f"{text} (worse than always predicting the mean)" if name == "r2" and value < 0 else text


def consequences(rows: int, *, selects: bool) -> str:
    """Return a sentence about the consequences of few validation rows, or an empty string if there are no consequences.

    `selects` indicates whether the run chooses a checkpoint by its evaluations despite having few rows.
    """
    sentences = [f"validation on {verdict(rows)}"] if too_few(rows) else []
    if not selects:
        few = f"{quantity(rows, 'validation row')} {'is' if rows == 1 else 'are'} too few to choose a checkpoint"
        kept = "the weights of the last step are kept"
        more = f"with {SELECTING_ROWS} or more rows, the weights with the best evaluation would be kept"
        sentences.append(f"{few}, so {kept}; {more}")
    return "; ".join(sentences)
