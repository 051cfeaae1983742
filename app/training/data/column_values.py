"""The values in the columns of a delimited table, used to recognise lines that a quote has merged into another row."""

from __future__ import annotations

from collections.abc import Sequence

_MOST = 200  # a column with more distinct values than this does not contain labels
_REPEATED = 2  # in a column of labels, each label occurs at least this often on average
_FEWEST_ROWS = 4
_LONGEST = 60  # the maximum number of characters of a label
_MOST_LINES, _MOST_INNER = 0.8, 0.9  # the shares that `_nearly_all` requires: of all lines, and of the inner lines


class ColumnValues:
    """The values of each column in the single-line rows: labels, numbers, or anything else.

    A column contains numbers if all of its values are numbers. A column of other values contains labels if it has few
    distinct values.
    """

    def __init__(self, width: int) -> None:
        self._rows = 0
        self._labels: list[set[str] | None] = [set() for _ in range(width)]
        self._numbers = [True] * width

    def add(self, cells: Sequence[str]) -> None:
        """Add a row. A row that does not have one cell per column is ignored."""
        if len(cells) != len(self._labels):
            return
        self._rows += 1
        for index, (cell, labels) in enumerate(zip(cells, self._labels, strict=True)):
            if labels is not None:
                labels.add(cell.strip().casefold())
                if len(cell) > _LONGEST or len(labels) > _MOST:
                    self._labels[index] = None
            if self._numbers[index]:
                self._numbers[index] = _is_number(cell)

    def are_rows(self, lines: Sequence[Sequence[str]]) -> bool:
        """Whether the lines of a record, each split at the delimiter, are probably rows of the table.

        Nearly all lines, or nearly all lines between the first and the last, must fit the columns: a column of labels
        must already contain the cell's value, and a column of numbers requires a number. If there is no such column,
        every line must have exactly as many cells as there are columns.
        """
        width = len(self._labels)
        if not any(map(self._is_telling, range(width))):
            return all(len(cells) == width for cells in lines)
        return _nearly_all([self._fits(cells) for cells in lines])

    def _fits(self, cells: Sequence[str]) -> bool:
        """Whether the cells fit the columns.

        Additional cells are accepted if they can be parts of a free text that contains the delimiter.
        """
        width = len(self._labels)
        more = len(cells) - width
        if more < 0:
            return False
        starts = [index for index in range(width) if not self._is_telling(index)] if more else [width]
        return any(
            all(self._matches(index, cells[index if index < start else index + more]) for index in range(width))
            for start in starts
        )

    def _is_telling(self, index: int) -> bool:
        """Whether the column is known to contain numbers or labels, so that cells with other values do not fit."""
        return self._rows >= _FEWEST_ROWS and (self._numbers[index] or self._has_labels(index))

    def _has_labels(self, index: int) -> bool:
        labels = self._labels[index]
        return labels is not None and len(labels) * _REPEATED <= self._rows

    def _matches(self, index: int, cell: str) -> bool:
        if not self._is_telling(index):
            return True
        bare, labels = cell.strip(' "\r\n'), self._labels[index]
        if self._numbers[index]:  # including columns of labels such as 0 and 1
            return _is_number(bare) and (bool(bare) or labels is None or "" in labels)
        return labels is not None and bare.casefold() in labels


def _nearly_all(fits: Sequence[bool]) -> bool:
    """Whether nearly all lines fit the columns, or nearly all of several lines between the first and the last."""
    inner = fits[1:-1]
    return sum(fits) >= _MOST_LINES * len(fits) or (len(inner) > 1 and sum(inner) >= _MOST_INNER * len(inner))


def _is_number(cell: str) -> bool:
    try:
        float(cell or "0")
    except ValueError:
        return False
    return True
