"""Collects the numbers of rows or lines as ranges, such as `lines 3-40, 52`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_MOST = 50  # the maximum number of ranges that are kept per file and unit
_PLACE = re.compile(r"(line|row) (\d+)")


@dataclass(slots=True)
class RowRanges:
    """The places of rows in one or two files. Numbers are added in ascending order for each file."""

    ranges: dict[tuple[str, str], list[list[int]]] = field(default_factory=dict)  # (unit, file) -> first and last
    is_cut: bool = False

    def add(self, where: str, of_file: str = "") -> None:
        """Add a place such as 'line 7'. Other places are ignored.

        `of_file` is appended to the file's ranges in the listing, such as ' of the validation file'.
        """
        match = _PLACE.fullmatch(where)
        if match is None:
            return
        number, ranges = int(match[2]), self.ranges.setdefault((match[1], of_file), [])
        if ranges and number - ranges[-1][1] <= 1:
            ranges[-1][1] = number
        elif len(ranges) < _MOST:
            ranges.append([number, number])
        else:
            self.is_cut = True

    def __str__(self) -> str:
        parts = [
            f"{unit}{'s' if len(ranges) > 1 or ranges[0][0] < ranges[0][1] else ''} {_listed(ranges)}{of_file}"
            for (unit, of_file), ranges in self.ranges.items()
        ]
        return "; ".join(parts) + ", …" * self.is_cut


def _listed(ranges: list[list[int]]) -> str:
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)
