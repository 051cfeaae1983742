"""Leaves out comments and footers after the last row of a table, such as the name of the program that exported it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from typing import Generic, TypeVar

from app.training.data.files import Source
from app.training.data.usual_names import quoted
from app.wording import quantity

T = TypeVar("T")
_MOST = 20  # more comments in succession are reported as rows that cannot be used
_SHOWN = 3  # the number of comments that the remark quotes
_LONGEST = 300  # characters; a longer line is a text, not a comment or footer
_UNIT = r"(?:rows?|records?|lines?|entries|items|results|examples|samples|documents|zeilen|datensätze|lignes|filas)"
_SUM = (
    r"(?:totals?|sum|(?:gesamt|zwischen|end)?summe|gesamt|insgesamt|count|average|avg|mean|median|durchschnitt"
    r"|mittelwert|anzahl|total\s+g[eé]n[eé]ral|sous-total|somme|moyenne|suma|promedio|totale|somma|[Σ∑])"
)
# The time to match must stay linear in the length of the text, so adjacent parts must not match the same characters.
_FOOTER = re.compile(
    rf"""
    (?:\#|//).*                                                      # comments
    | [-=*_~]{{2}}[\W_]*+(?:[^\W_][\w\ ]{{0,30}}[\W_]*+)?             # -- end --
    | \W?\d[\d.,\s]*{_UNIT}\b.{{0,60}}                               # (40 rows)
    | (?:grand\s+|sub-?)?{_SUM}(?:\s+number)?(?:\s+of)?(?:\s+{_UNIT})?
      (?:[\s\d.,:=€$£%+-]|\b(?:eur|usd|gbp|chf|{_SUM})\b)*+{_UNIT}?\.?       # Total: 40 rows; Summe, 266,70 €
    | (?:exported|generated|created|printed|downloaded|produced|retrieved|extracted)\s+(?:by|on|at|from|with|using)\b.*
    | (?:sources?|quelle|notes?|hinweis)\s*:.* | (?:copyright|©|\(c\)).*
    | <?(?:eof|end|ende)>?[.!]? | end\s+of\s+\w++.{{0,40}} | page\s+\d+(?:\s*(?:of|/)\s*\d+)?
    """,
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)


Row = tuple[T, str, Sequence[str], bool]  # a record, its place, its cells, and whether it may be a comment or footer


def without_comments(source: Source, rows: Iterator[Row[T]], is_reported: bool = True) -> Iterator[T]:
    """Yield the records of all rows, except the comments and footers after the last row.

    If `is_reported`, a warning reports these comments and footers, and another one reports a last row that is read, but
    looks like a footer.
    """
    comments = _LastComments[T]()
    last: tuple[str, Sequence[str]] = ("", ())
    for record, where, cells, is_suspect in rows:
        if is_suspect:
            yield from comments.pass_on(cells, where, record)
            last = last if comments.holds_rows else ("", ())
        else:
            last = where, cells
            yield from comments.release()
            yield record
    if not is_reported:
        return
    comments.remark(source)
    text = next(filter(None, map(str.strip, last[1])), "")
    if _is_footer(text):
        message = (
            f"the last row begins with {quoted([text])}, as a footer does, but is read as a row; if it is a footer, "
        )
        source.remark("last_row", message + "delete it from the file", last[0], level="warn")


class _LastComments(Generic[T]):
    """Holds back the records of comments and footers, until it is certain that no row follows."""

    def __init__(self) -> None:
        self._tail: list[tuple[T, str, str]] = []
        self._is_full = False

    @property
    def holds_rows(self) -> bool:
        """Whether rows are held back."""
        return bool(self._tail)

    def pass_on(self, cells: Sequence[str], where: str, record: T) -> Iterator[T]:
        """Yield the record of a row that cannot be used. If it may be a comment after the last row, hold it back."""
        text = ", ".join(filter(None, map(str.strip, cells)))
        if _is_footer(text) and len(self._tail) < _MOST and not self._is_full:
            self._tail.append((record, where, text))
            return
        self._is_full = self._is_full or len(self._tail) >= _MOST
        yield from self.release()
        yield record

    def release(self) -> Iterator[T]:
        """Yield the records that are held back, because another row follows."""
        tail, self._tail = self._tail, []
        return (record for record, _, _ in tail)

    def remark(self, source: Source) -> None:
        """Report the comments after the last row."""
        if self._tail:
            verb = "is" if len(self._tail) == 1 else "are"
            message = f"{quantity(len(self._tail), 'line')} after the last row {verb} left out as a comment or footer: "
            message += quoted(text for _, _, text in self._tail[:_SHOWN]) + ", …" * (len(self._tail) > _SHOWN)
            source.remark("last_comments", message, self._tail[0][1], len(self._tail), "warn")


def _is_footer(text: str) -> bool:
    return 0 < len(text) <= _LONGEST and _FOOTER.fullmatch(text) is not None


def is_unusable(cells: Sequence[str], required: Collection[int]) -> bool:
    """Whether some of the `required` cells of a row are empty."""
    return "" in cells and not all(cells[index].strip() for index in required)
