"""The label cells of a table, and functions that show labels in messages."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from app.training.data.cells import is_amount
from app.training.data.collector import Place
from app.wording import quantity

LISTED = 10  # the maximum number of labels that one remark lists


@dataclass(slots=True)
class LabelColumn:
    """The distinct label cells of a table, each with its labels.

    For each cell, `listed` is true if it is a list, `typed` contains the labels that are not written as text, and
    `rows` is the number of rows that contain it. `base_labels` are the labels of the version to fine-tune; their
    spelling is preserved.
    """

    task: str
    task_inferred: bool
    cells: list[tuple[str, ...]]
    listed: list[bool]
    typed: list[tuple[str, ...]]
    rows: list[int]
    places: list[Place]  # for each cell, the first row that contains it
    base_labels: frozenset[str] = frozenset()

    @property
    def counts(self) -> Counter[str]:
        """The number of rows with each label."""
        counts: Counter[str] = Counter()
        for labels, rows in zip(self.cells, self.rows, strict=True):
            counts.update(dict.fromkeys(labels, rows))
        return counts

    @property
    def has_amounts(self) -> bool:
        """Whether all labels are numbers in any notation, perhaps with a currency sign."""
        return all(is_amount(label) for cell in self.cells for label in cell)

    def remark(self, kind: str, message: str, cells: Iterable[int], level: str = "info") -> None:
        """Add a remark about the cells with these indices.

        The remark's place is the first row that contains the cell with the first index.
        """
        indices = list(cells)
        place = self.places[indices[0]]
        count = sum(self.rows[index] for index in indices)
        place.layout.source.remark(kind, message, f"{place.where}, {place.layout.place_of('label')}", count, level)

    def cells_with(self, labels: Iterable[str]) -> list[int]:
        """Return the indices of the cells that contain any of the labels."""
        label_set = set(labels)
        return [index for index, cell in enumerate(self.cells) if not label_set.isdisjoint(cell)]


def shown(label: str) -> str:
    """Return the label in quotes. If it is not in normal form NFKC, escapes all of its non-ASCII characters."""
    return repr(label) if unicodedata.is_normalized("NFKC", label) else ascii(label)


def listing(parts: Iterable[str]) -> str:
    """List the first parts, separated by commas, followed by the number of omitted parts."""
    texts = list(parts)
    more = len(texts) - LISTED
    return ", ".join(texts[:LISTED]) + (f" and {more:,} more" if more > 0 else "")


def with_rows(labels: Iterable[str], counts: Counter[str]) -> str:
    """List the labels, each with its number of rows."""
    return listing(f"{shown(label)} ({quantity(counts[label], 'row')})" for label in labels)
