"""Removes blanks around labels, and reports labels that are written as several types, and rows without a label."""

from __future__ import annotations

from app.training.data.label_column import LabelColumn, listing, shown, with_rows
from app.wording import quantity


def settle_cells(column: LabelColumn) -> None:
    """Remove blanks around labels. Adds remarks about blanks, labels of several types, and rows without a label."""
    _trim(column)
    _tell_types(column)
    _tell_empty(column)


def _trim(column: LabelColumn) -> None:
    counts = column.counts
    spellings = {label: bare for label in sorted(counts) if (bare := label.strip()) != label}
    if not spellings:
        return
    changed = column.cells_with(spellings)
    pairs = listing(f"{shown(old)} ({quantity(counts[old], 'row')}) as {shown(new)}" for old, new in spellings.items())
    rows = quantity(sum(column.rows[index] for index in changed), "row")
    for index in changed:
        column.cells[index] = tuple(sorted({label.strip() for label in column.cells[index]}))
        column.typed[index] = tuple(label.strip() for label in column.typed[index])
    column.remark("labels_trimmed", f"blanks around labels are removed in {rows}: {pairs}", changed)


def _tell_types(column: LabelColumn) -> None:
    """Report labels that are text in some cells, and numbers, dates or true/false in others."""
    typed: set[str] = set().union(*column.typed)
    if not typed:
        return
    cells = zip(column.cells, column.typed, strict=True)
    written = {label for labels, own in cells for label in labels if label not in own}
    if both := sorted(typed & written):
        message = (
            "labels that are written as text in some rows, and as numbers, dates or true/false in others, are treated "
            "as the same labels"
        )
        column.remark("label_types", f"{message}: {with_rows(both, column.counts)}", column.cells_with(both))


def _tell_empty(column: LabelColumn) -> None:
    empty = [index for index, labels in enumerate(column.cells) if not labels]
    if empty:
        rows = sum(column.rows[index] for index in empty)
        use = "is used as an example to which no label applies"
        use = use if rows == 1 else "are used as examples to which no label applies"
        column.remark("no_labels", f"{quantity(rows, 'row')} without a label {use}", empty)
