"""Removes the conjunction before the last label of a list, as in 'sport, tech, and money'."""

from __future__ import annotations

import re
from collections.abc import Collection

from app.training.data.label_column import LabelColumn, shown

_CONJUNCTION = re.compile(r"(?:and|or|und|oder|et|ou|y)\s+(?=\S)", re.IGNORECASE)
_CERTAIN = 3  # in a list of at least this many labels, a conjunction before the last one does not belong to the label


def without_conjunctions(parts: dict[int, list[str]], labels: Collection[str]) -> dict[int, list[str]]:
    """Return the labels of cells that were split at commas, without a conjunction before the last label of a cell.

    In a cell with two labels, the conjunction is removed only if the rest is a label of another cell, because it may
    belong to the label, as in 'x axis, y axis'. `labels` contains the labels of the cells that were not split.
    """
    all_labels = {*labels, *(label for split in parts.values() for label in split)}
    return {index: _without_conjunction(split, all_labels) for index, split in parts.items()}


def _without_conjunction(split: list[str], all_labels: Collection[str]) -> list[str]:
    rest = _CONJUNCTION.sub("", split[-1], count=1) if _CONJUNCTION.match(split[-1]) else split[-1]
    is_removed = len(split) >= _CERTAIN or (len(split) > 1 and rest in all_labels)
    return [*split[:-1], rest] if is_removed else split


def warn_of_conjunctions(column: LabelColumn) -> None:
    """Warn about labels of lists that still begin with a conjunction."""
    lists = ((index, cell) for index, cell in enumerate(column.cells) if column.listed[index] and len(cell) > 1)
    examples = {index: label for index, cell in lists for label in cell if _CONJUNCTION.match(label)}
    if examples:
        label = next(iter(examples.values()))
        message = f"labels such as {shown(label)} begin with a conjunction, which is read as a part of the label; if "
        message += "it only joins the labels of a list, remove it"
        column.remark("label_conjunctions", message, examples, "warn")
