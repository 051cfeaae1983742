"""Defines the minimum number of rows for a meaningful metric."""

from __future__ import annotations

from typing import TypeGuard

from app.wording import counted

# With a perfect score on 20 rows, the true error rate may still be up to 14 % (about 3/n, the "rule of three" at 95 %).
# With a perfect score on 2 rows, it may still be up to 78 %.
MEASURABLE_ROWS = 20


def too_few(rows: object) -> TypeGuard[int]:
    """Whether `rows` is too small for a meaningful metric. False for None: older versions do not record the number."""
    return isinstance(rows, int) and not isinstance(rows, bool) and rows < MEASURABLE_ROWS


def verdict(rows: int) -> str:
    """The text to show instead of metrics from too few rows: `2 rows: too few for meaningful metrics`."""
    return f"{counted(rows, 'row')}: too few for meaningful metrics"
