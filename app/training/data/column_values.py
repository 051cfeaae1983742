"""The values in the columns of a delimited table, used to recognise lines that a quote has merged into another row."""

from __future__ import annotations

from collections.abc import Sequence

_MOST = 200  # a column with more distinct values than this does not contain labels
_REPEATED = 2  # in a column of labels, each label occurs at least this often on average
_FEWEST_ROWS = 4
_LONGEST = 60  # characters of a label


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
        """Add a row. Rows of another width are ignored."""
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

    def match(self, rows: Sequence[Sequence[str]]) -> bool:
        """Whether the cells of these rows match their columns: a column of labels must already contain the cell's
        value, and a column of numbers requires a number. Columns of any other kind match every cell.
        """
        return all(self._matches(index, cell) for row in rows for index, cell in enumerate(row))

    def _matches(self, index: int, cell: str) -> bool:
        if self._rows < _FEWEST_ROWS:
            return True
        if self._numbers[index]:  # also labels such as 0 and 1
            return _is_number(cell)
        labels = self._labels[index]
        return labels is None or len(labels) * _REPEATED > self._rows or cell.strip().casefold() in labels


def _is_number(cell: str) -> bool:
    try:
        float(cell or "0")
    except ValueError:
        return False
    return True
