"""Converts numbers with a decimal comma or with thousands separators, according to the other numbers of the column."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from app.training.data.delimiters_choice import delimiters_of
from app.training.data.files import Record, Selection, Source
from app.training.data.formats import READERS
from app.training.data.layouts import Layout
from app.training.data.number_forms import UnclearNumber, is_certain, reading
from app.training.failures import BadData
from app.wording import quantity

# At least this many cells such as 1,422 and as many whole numbers below 1000 show that the comma separates thousands.
_FEWEST = 5


@dataclass(slots=True)
class _Column:
    """The notation of the numbers in one column of texts."""

    points: int = 0  # cells in which a point can only be the decimal mark, such as 0.5 and 1,422.54
    commas: int = 0  # cells in which a comma can only be the decimal mark, such as 0,5 and 1.422,54
    unclear: int = 0  # cells such as 1,422
    pointed: int = 0  # cells such as 1.422
    small: int = 0  # whole numbers below 1000
    large: int = 0  # other whole numbers without separators
    is_plain: bool = True  # whether Python reads all numbers of the column
    example: str = ""  # the first cell that is counted in `points` or `commas` and contains the mark

    def add(self, cell: str) -> None:
        bare = cell.strip()
        if is_certain(bare):
            is_whole = bare.lstrip("+-").isdigit()
            is_small = is_whole and len(bare.lstrip("+-0")) <= 3
            self.small, self.large = self.small + is_small, self.large + (is_whole and not is_small)
            self.points += "." in bare
            self.example = self.example or bare * ("." in bare)
            return
        point, comma = reading(bare, "."), reading(bare, ",")
        if point is None and comma is None:
            return
        self.is_plain = self.is_plain and point == bare
        if point == comma:
            return
        if point is None or comma is None:
            self.points, self.commas = self.points + (comma is None), self.commas + (point is None)
            self.example = self.example or bare
        elif "," in cell:
            self.unclear += 1
        else:
            self.pointed += 1

    @property
    def certain(self) -> str:
        """The decimal mark that the other numbers show: a point, a comma, both, or "" if they show none."""
        return "." * bool(self.points) + "," * bool(self.commas)

    def decimal(self, mark: str, is_comma_usual: bool) -> str:
        """Return the decimal mark of cells such as 1,422 or, if `mark` is a point, 1.422, or "" if it is unclear.

        For a column whose other numbers do not show the mark.
        """
        if mark == ".":
            return "" if is_comma_usual and not self.large else "."
        if min(self.unclear, self.small) >= _FEWEST and not self.large and not self.pointed:
            return "."  # if the comma were the decimal mark, some numbers would have one or two decimals
        return "," if is_comma_usual else ""


@dataclass(slots=True)
class _Converted:
    """The number of converted cells of one kind, the place of the first one, and an example."""

    count: int = 0
    first: str = ""
    example: str = ""

    def add(self, where: str, cell: str, number: str) -> None:
        self.count, self.first = self.count + 1, self.first or where
        self.example = self.example or f"{cell.strip()!r} is {number}"


@dataclass(slots=True)
class Decimals:
    """Converts the numbers in the `columns` of a table, and reports the converted ones.

    If semicolons separate the cells of a table, its decimal mark is usually a comma.
    """

    layout: Layout
    columns: frozenset[str]
    _decimal: _Converted = field(default_factory=_Converted)
    _normal: _Converted = field(default_factory=_Converted)  # other converted cells, such as 1,422.54
    _guessed: _Converted = field(default_factory=_Converted)
    # Cells such as 1,422 or 1.422 in which the mark that is not the decimal mark, the key, separates thousands
    _grouped: dict[str, _Converted] = field(default_factory=lambda: {".": _Converted(), ",": _Converted()})

    def convert(self, record: Record) -> Record:
        """Return the record with numbers that Python can read."""
        texts = [(name, cell) for name in self.columns if isinstance(cell := record.values.get(name), str)]
        cells = [(name, cell) for name, cell in texts if not is_certain(cell)]
        if not cells:  # the notation of the columns, for which the whole file is read, is not needed
            return record
        columns = _columns_of(self.layout, self.columns)
        is_comma = self._is_comma_usual or any(column.commas for column in columns.values())
        plain = set() if is_comma else {name for name, column in columns.items() if column.is_plain}
        changed = {
            name: self._converted(columns[name], cell, record.where) for name, cell in cells if name not in plain
        }
        return replace(record, values={**record.values, **changed}) if changed else record

    def _converted(self, column: _Column, cell: str, where: str) -> str:
        marks = {mark: number for mark in ".," if (number := reading(cell, mark)) is not None}
        mark = next(iter(marks), "")
        if len(marks) > 1 and marks["."] != marks[","]:
            written = "," if "," in cell else "."
            shown = column if column.certain else self._table_notation
            mark = shown.certain or column.decimal(written, self._is_comma_usual)
            if len(mark) != 1:
                return _unclear(cell, marks, written)
            if mark != written and shown.example:
                self._grouped[mark].add(where, cell, f"{marks[mark]}, because there are numbers like {shown.example!r}")
                return marks[mark]
        number = marks.get(mark, cell)
        if number != cell.strip():
            is_decimal = mark == "," and "," in cell
            converted = self._normal if not is_decimal else self._decimal if column.commas else self._guessed
            converted.add(where, cell, number)
            return number
        return cell

    @property
    def _is_comma_usual(self) -> bool:
        return _is_comma_usual(self.layout.source)

    @property
    def _table_notation(self) -> _Column:
        """A column that shows the decimal mark of the table, if all columns that show one agree, or else shows none."""
        columns = [column for column in _columns_of(self.layout, self.columns).values() if column.certain]
        agree = len({column.certain for column in columns}) == 1 and len(columns[0].certain) == 1
        return columns[0] if agree else _Column()

    def remark(self) -> None:
        """Add remarks about converted numbers."""
        self._tell("decimal_commas", self._decimal, "with a decimal comma", "")
        self._tell("numbers_normalised", self._normal, "without thousands separators and special signs", "")
        unsure = "; no other number shows whether the comma separates thousands; if it does, remove it"
        self._tell("guessed_commas", self._guessed, "with a decimal comma", unsure)
        for decimal, (kind, name) in {".": ("grouped_commas", "comma"), ",": ("grouped_points", "point")}.items():
            self._tell(kind, self._grouped[decimal], f"with the {name} as thousands separator", "")

    def _tell(self, kind: str, converted: _Converted, how: str, more: str) -> None:
        if converted.count:
            verb = "is" if converted.count == 1 else "are"
            message = f"{quantity(converted.count, 'number')} {verb} read {how}: {converted.example}"
            self.layout.source.remark(
                kind, message + more, converted.first, converted.count, "warn" if more else "info"
            )


def _is_comma_usual(source: Source) -> bool:
    return source.format in ("csv", "tsv") and delimiters_of(source).delimiter == ";"


def _columns_of(layout: Layout, columns: frozenset[str]) -> dict[str, _Column]:
    """Return the notation of each column. The first call reads the whole file."""
    settled: dict[str, Any] = layout.source.settled
    if "numbers" not in settled:
        settled["numbers"] = {name: _Column() for name in columns}
        for record in _records(layout, columns):
            for name, column in settled["numbers"].items():
                if isinstance(cell := record.values.get(name), str):
                    column.add(cell)
    result: dict[str, _Column] = settled["numbers"]
    return result


def _records(layout: Layout, columns: frozenset[str]) -> Iterator[Record]:
    with suppress(BadData):  # the pass over all rows reports the error
        yield from READERS[layout.source.format].records(layout.source, Selection(frozenset(layout.ignored), columns))


def _unclear(cell: str, marks: dict[str, str], written: str) -> UnclearNumber:
    number, bare = UnclearNumber(cell), cell.strip()
    name, other = ("comma", ".") if written == "," else ("point", ",")
    number.reason = (
        f"{bare!r} may be {marks['.']} or {marks[',']}; write one number of the column as {bare}{other}0 (if {name}s "
        f"separate thousands) or as {bare}0 (if they are decimal {name}s), or all numbers without thousands separators"
    )
    return number
