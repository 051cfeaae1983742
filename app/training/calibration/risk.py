"""The risk-coverage table: for each threshold, the share of rows that are answered, and the error rate among them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from app.checkpoint.calibration import RiskLevel

CONFIDENCE = 0.975  # the bound is the upper end of a two-sided 95 % interval
LEVELS, LEVEL_ROWS = 50, 10  # the maximum number of levels; the minimum number of rows from one level to the next


def risk_levels(
    scores_N: NDArray[np.float64], right_N: NDArray[np.bool_], confidence: float = CONFIDENCE
) -> list[RiskLevel]:
    """Return the levels from the strictest threshold to the most lenient one, which answers all rows.

    The thresholds depend only on the scores, and are chosen at evenly spaced shares of answered rows. The bounds are
    those of Clopper and Pearson (1934). `Calibration.level` tests the levels in this order, so its guarantee holds for
    the level that it returns.
    """
    order_N = np.argsort(-scores_N, kind="stable")
    ordered_N, wrong_N = scores_N[order_N], np.cumsum(~right_N[order_N])
    count = len(ordered_N)
    levels = max(1, min(LEVELS, count // LEVEL_ROWS))
    thresholds = ordered_N[[-(-count * number // levels) - 1 for number in range(1, levels + 1)]]
    table = []
    for threshold in np.unique(thresholds)[::-1]:
        answer_count = int((ordered_N >= threshold).sum())
        errors = int(wrong_N[answer_count - 1])
        bound = upper_bound(errors, answer_count, 1 - confidence)
        table.append(RiskLevel(float(threshold), answer_count / count, errors / answer_count, bound))
    return table


def upper_bound(errors: int, rows: int, alpha: float) -> float:
    """Return the upper Clopper-Pearson bound on an error rate.

    The bound is below the true rate with a probability of at most `alpha`.

    If the true rate were equal to the bound, the probability of at most `errors` errors in `rows` rows would be
    `alpha`. The bound is found by bisection.
    """
    if errors >= rows:
        return 1.0
    counts = np.arange(errors + 1)
    logs = np.asarray([math.lgamma(rows + 1) - math.lgamma(k + 1) - math.lgamma(rows - k + 1) for k in counts])
    low, high = errors / rows, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        terms = logs + counts * math.log(middle) + (rows - counts) * math.log1p(-middle)
        largest = terms.max()
        if largest + math.log(np.exp(terms - largest).sum()) > math.log(alpha):
            low = middle
        else:
            high = middle
    return high
