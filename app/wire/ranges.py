"""Intervals of numbers for options, and the error for an invalid option."""

from __future__ import annotations

from dataclasses import dataclass


class OptionError(ValueError):
    """A training option is invalid; `field` is its name in `training`."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"training.{field} {message}")
        self.field, self.message = field, message


@dataclass(frozen=True, slots=True)
class Range:
    """An interval of numbers. The interval includes `low` unless `above` is set, and `high` unless `below` is set."""

    low: float
    high: float
    above: bool = False
    below: bool = False

    def complaint(self, value: float) -> str | None:
        """Return an explanation of why `value` is outside the range, or None if it is inside."""
        over = value > self.low or (value == self.low and not self.above)
        under = value < self.high or (value == self.high and not self.below)
        if over and under:  # never true for NaN, which is therefore rejected
            return None
        start = f"{'above' if self.above else 'at least'} {self.low:g}"
        return f"must be {start} and {'below' if self.below else 'at most'} {self.high:g}, not {_shown(value)}"


def _shown(value: float) -> str:
    try:
        return f"{value:g}"
    except OverflowError:
        return "a number of that size"
