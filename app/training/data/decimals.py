"""Reads numbers with a decimal comma. Spreadsheets write such numbers to semicolon-separated files."""

from __future__ import annotations

import re
from dataclasses import dataclass

from app.training.data.files import Source
from app.wording import counted

_COMMA = re.compile(r"\s*[+-]?(?:\d+|\d{1,3}(?:[.\s\u00a0\u202f]\d{3})+)?,\d+(?:[eE][+-]?\d+)?\s*")
_GROUPED = re.compile(r"\s*[+-]?[1-9]\d{0,2}(?:\.\d{3})+\s*")
_NOT_OF_THE_NUMBER = re.compile(r"[.\s\u00a0\u202f]")


@dataclass(slots=True)
class DecimalCommas:
    """Replaces decimal commas with points, and counts the converted numbers so that a remark can report them."""

    source: Source
    count: int = 0
    first: str = ""
    example: str = ""
    grouped: int = 0  # the number of cells such as 1.234, in which the point may separate thousands
    first_grouped: str = ""
    pointed: int = 0  # the number of other cells with a point, such as 2.5

    def convert(self, cell: str, where: str) -> str:
        """Return the cell, with a decimal point and without thousands separators if it has a decimal comma."""
        if "," in cell and _COMMA.fullmatch(cell):
            self.count, self.first, self.example = self.count + 1, self.first or where, self.example or cell.strip()
            return _with_point(cell)
        if "." in cell:
            if _GROUPED.fullmatch(cell):
                self.grouped, self.first_grouped = self.grouped + 1, self.first_grouped or where
            else:
                self.pointed += 1
        return cell

    def remark(self) -> None:
        """Add remarks about converted numbers, and about numbers with a point that may be a thousands separator."""
        if self.count:
            verb = "is" if self.count == 1 else "are"
            example = f"{self.example!r} is {_with_point(self.example)}"
            message = f"{counted(self.count, 'number')} {verb} read with a decimal comma: {example}"
            self.source.remark("decimal_commas", message, self.first, self.count)
        if self.grouped and (self.count or not self.pointed):
            verb = "is" if self.grouped == 1 else "are"
            other = "other numbers have a decimal comma" if self.count else "no other number has a decimal point"
            message = (
                f"{counted(self.grouped, 'number')} like 1.234 {verb} read with a decimal point, although {other}; "
                "if the point separates thousands, remove it"
            )
            self.source.remark("decimal_points", message, self.first_grouped, self.grouped, "warn")


def _with_point(cell: str) -> str:
    return _NOT_OF_THE_NUMBER.sub("", cell).replace(",", ".")
