"""How many rows a figure must be measured on before it says something about a model."""

from __future__ import annotations

from typing import TypeGuard

from app.wording import counted

# A perfect score on 20 rows still leaves an error rate of 14 % possible (3/n, the "rule of three" at 95 %); on 2 rows
# it leaves any.
MEASURABLE_ROWS = 20


def too_few(rows: object) -> TypeGuard[int]:
    """Whether figures on so many rows are not a measurement. False for None: older versions do not have the number."""
    return isinstance(rows, int) and not isinstance(rows, bool) and rows < MEASURABLE_ROWS


def verdict(rows: int) -> str:
    """What is shown in place of a figure that is not a measurement: `2 rows: not a measurement`."""
    return f"{counted(rows, 'row')}: not a measurement"
