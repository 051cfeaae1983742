"""Recognises headers between the rows of a table, as in files that were joined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.training.data.files import BOM, Record, Source
from app.training.data.usual_names import INPUTS, TARGETS, quoted
from app.training.failures import BadData
from app.wording import quantity

_LONGEST = 100  # the maximum number of characters of the first cell of a header


@dataclass(slots=True)
class _Headers:
    """The number of headers of one kind, and the place and the names of the first one."""

    count: int = 0
    first: str = ""
    names: str = ""

    def add(self, where: str, cells: Sequence[str]) -> None:
        if not self.count:
            self.first, self.names = where, quoted(cells)
        self.count += 1


class InnerHeaders:
    """The headers between the rows of a table with the columns `names`.

    A row that repeats the header, regardless of case, is left out. So is the header of another file, if it consists of
    usual names and at least one name is in the same column as in `names`. After a header with the same names in another
    order, each row is faulty, up to the next header that is left out.
    """

    def __init__(self, source: Source, names: Sequence[str]) -> None:
        self._source, self._names = source, names
        self._lower = _folded(names)
        self._usual = {*self._lower, *INPUTS, *TARGETS}
        self._repeated, self._other, self._moved = _Headers(), _Headers(), _Headers()
        self._turned = _Headers()  # the last header, if it names the columns in another order

    def instead_of(self, cells: Sequence[str], where: str) -> tuple[Record, ...] | None:
        """Return the records to read instead of this row, or None if the row itself is to be read.

        Returns no records for a header that is left out, and a faulty record for a row whose columns are in another
        order.
        """
        if self._may_be_header(cells) and self._is_left_out(list(map(_bare, cells)), where):
            return ()
        return (Record(where, {}, self._fault(where)),) if self._turned.count else None

    def _may_be_header(self, cells: Sequence[str]) -> bool:
        """Whether the row may be a header: its first cell is a usual name, or a name in the first header.

        Always False for a row with a single cell, because the cell may also be a value.
        """
        return len(cells) > 1 and len(cells[0]) <= _LONGEST and _bare(cells[0]).casefold() in self._usual

    def _is_left_out(self, cells: Sequence[str], where: str) -> bool:
        """Whether the row is a header that is left out. Counts the headers of each kind."""
        width = len(self._names)
        lower = _folded(cells[:width])
        if len(lower) < width or any(cells[width:]):
            return False
        headers = self._repeated if lower == self._lower else self._other
        if headers is self._other and self._is_turned(lower):
            self._turned = _Headers()
            self._turned.add(where, cells[:width])
            return False
        if headers is self._other and self._is_usual(lower) and self._has_moved(lower):
            self._moved.add(where, cells[:width])  # perhaps a row of a table about column names, so it is read
            return False
        if headers is self._other and not self._is_other(lower):
            return False
        self._turned = _Headers()
        headers.add(where, cells[:width])
        return True

    def _is_turned(self, lower: Sequence[str]) -> bool:
        """Whether the row has the names of the header in another order."""
        return sorted(lower) == sorted(self._lower)

    def _is_other(self, lower: Sequence[str]) -> bool:
        """Whether all cells are usual names, one of them of an input, and one is in its column of the header."""
        return self._is_usual(lower) and any(name == other for name, other in zip(lower, self._lower, strict=True))

    def _is_usual(self, lower: Sequence[str]) -> bool:
        return len(set(lower)) == len(lower) and self._usual.issuperset(lower) and not INPUTS.isdisjoint(lower)

    def _has_moved(self, lower: Sequence[str]) -> bool:
        """Whether the row contains a name of the header, but in another column."""
        return any(name in self._lower and name != other for name, other in zip(lower, self._lower, strict=True))

    def _fault(self, where: str) -> BadData:
        """Return the error for a header that names the columns in another order, or for a row after such a header."""
        header = self._turned
        verb = "names" if where == header.first else f"follows {header.first}, which names"
        order = f"the columns in another order ({header.names}) than the header ({quoted(self._names)})"
        advice = "as in files that were joined; put the columns into the same order before joining the files"
        return self._source.fault(f"the row {verb} {order}, {advice}", where)

    def remark(self) -> None:
        """Add remarks about the headers that are left out, and about rows that look like headers but are read."""
        if self._repeated.count:
            self._remark_repeated(self._repeated)
        if self._other.count:
            self._remark_other(self._other)
        if self._moved.count:
            self._remark_moved(self._moved)

    def _remark_repeated(self, headers: _Headers) -> None:
        verbs = ("repeats", "is") if headers.count == 1 else ("repeat", "are")
        message = f"{quantity(headers.count, 'row')} {verbs[0]} the header, as in files that were joined, and "
        message += f"{verbs[1]} left out"
        self._source.remark("repeated_header", message, headers.first, headers.count, "warn")

    def _remark_other(self, headers: _Headers) -> None:
        verbs = ("is the header", "is") if headers.count == 1 else ("are headers", "are")
        message = f"{quantity(headers.count, 'row')} {verbs[0]} of another file ({headers.names}) and {verbs[1]} left "
        message += f"out; the rows are read with the columns of the first header ({quoted(self._names)})"
        self._source.remark("other_header", message, headers.first, headers.count, "warn")

    def _remark_moved(self, headers: _Headers) -> None:
        verb, pronoun = ("looks like the header", "it") if headers.count == 1 else ("look like headers", "them")
        message = f"{quantity(headers.count, 'row')} {verb} of another file with its columns in another order "
        message += (
            f"({headers.names} instead of {quoted(self._names)}), but the rows after {pronoun} are read with the "
        )
        message += "columns of the first header; if files were joined, put the columns into the same order before "
        message += "joining them"
        self._source.remark("moved_header", message, headers.first, headers.count, "warn")


def _bare(cell: str) -> str:
    return cell.lstrip(BOM).strip()


def _folded(names: Sequence[str]) -> list[str]:
    return [name.casefold() for name in names]
