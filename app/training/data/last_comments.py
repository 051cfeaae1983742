"""Leaves out comments after the last row of a table, such as the name of the program that exported it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from app.training.data.files import Record, Source
from app.wording import counted

_MOST = 20  # more comments in succession are reported as rows that cannot be used


class LastComments:
    """Holds back the faults of rows that consist of a comment, until it is certain that no row follows."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._held: list[Record] = []
        self._is_full = False

    def pass_on(self, cells: Sequence[str], fault: Record) -> Iterator[Record]:
        """Yield the fault of a row with the wrong number of cells, unless it may be a comment after the last row."""
        if cells[0].lstrip().startswith("#") and len(self._held) < _MOST and not self._is_full:
            self._held.append(fault)
            return
        self._is_full = self._is_full or len(self._held) >= _MOST
        yield from self.release()
        yield fault

    def release(self) -> Iterator[Record]:
        """Yield the faults that are held back, because another row follows."""
        held, self._held = self._held, []
        yield from held

    def remark(self) -> None:
        """Report the comments after the last row."""
        if self._held:
            verb = "is" if len(self._held) == 1 else "are"
            message = f"{counted(len(self._held), 'line')} after the last row {verb} left out as a comment"
            self._source.remark("last_comments", message, self._held[0].where, len(self._held), "warn")
