"""Recognises headers between the rows of a table, as in files that were joined."""

from __future__ import annotations

from collections.abc import Sequence

from app.training.data.files import BOM, Record, Source
from app.training.data.usual_names import INPUTS, TARGETS, quoted
from app.training.failures import BadData
from app.wording import counted

_LONGEST = 100  # the maximum number of characters of the first cell of a header


class InnerHeaders:
    """The headers between the rows of a table with the columns `names`.

    A header with the same columns is left out, regardless of case; so is the header of another file, if it has only
    usual names, one of which is in the same column. After a header that names the columns in another order, each row is
    faulty.
    """

    def __init__(self, source: Source, names: Sequence[str]) -> None:
        self._source, self._names = source, names
        self._lower = [name.casefold() for name in names]
        self._known = {*self._lower, *INPUTS, *TARGETS}
        self._repeated, self._first_repeated = 0, ""
        self._other, self._first_other, self._other_names = 0, "", ""
        self._turned, self._turned_names = "", ""  # the place and the names of a header in another order

    def instead_of(self, cells: Sequence[str], where: str) -> tuple[Record, ...] | None:
        """Return the records to read instead of this row: none if it is left out, or a faulty one.

        Returns None if the row is to be read.
        """
        if self._includes(cells, where):
            return ()
        return (Record(where, {}, self._fault(where)),) if self._turned else None

    def _includes(self, cells: Sequence[str], where: str) -> bool:
        """Whether the row is a header that is left out. In a table with one column, it may also be a value."""
        if len(cells) < 2 or len(cells[0]) > _LONGEST or cells[0].lstrip(BOM).strip().casefold() not in self._known:
            return False
        bare = [cells[0].lstrip(BOM).strip(), *map(str.strip, cells[1:])]
        width = len(self._names)
        lower = [name.casefold() for name in bare[:width]]
        if len(lower) < width or any(bare[width:]):
            return False
        if lower == self._lower:
            self._turned = ""
            self._repeated += 1
            self._first_repeated = self._first_repeated or where
            return True
        if sorted(lower) == sorted(self._lower):
            self._turned, self._turned_names = where, quoted(bare[:width])
            return False
        if not self._is_other(lower):
            return False
        self._turned = ""
        self._other += 1
        self._first_other, self._other_names = self._first_other or where, self._other_names or quoted(bare[:width])
        return True

    def _is_other(self, lower: Sequence[str]) -> bool:
        """Whether the row has only usual names, one of them of an input, and shares a name with the header."""
        is_header = len(set(lower)) == len(lower) and self._known.issuperset(lower) and not INPUTS.isdisjoint(lower)
        return is_header and any(name == other for name, other in zip(lower, self._lower, strict=True))

    def _fault(self, where: str) -> BadData:
        """Return the error for a row after a header that names the columns in another order, or for this header."""
        order = f"the columns in another order ({self._turned_names}) than the header ({quoted(self._names)})"
        advice = "as in files that were joined; put the columns into the same order before joining the files"
        if where == self._turned:
            return self._source.fault(f"the row names {order}, {advice}", where)
        return self._source.fault(f"the row follows {self._turned}, which names {order}, {advice}", where)

    def remark(self) -> None:
        """Add remarks about the headers that are left out."""
        if self._repeated:
            verbs = ("repeats", "is") if self._repeated == 1 else ("repeat", "are")
            message = f"{counted(self._repeated, 'row')} {verbs[0]} the header, as in files that were joined, and "
            message += f"{verbs[1]} left out"
            self._source.remark("repeated_header", message, self._first_repeated, self._repeated, "warn")
        if self._other:
            verbs = ("is the header", "is") if self._other == 1 else ("are headers", "are")
            message = f"{counted(self._other, 'row')} {verbs[0]} of another file ({self._other_names}) and {verbs[1]} "
            message += f"left out; the rows are read with the columns of the first header ({quoted(self._names)})"
            self._source.remark("other_header", message, self._first_other, self._other, "warn")
