"""Decides which label cells contain several labels, based on the content of the whole column."""

from __future__ import annotations

from collections import Counter

from app.training.data.cells import LABEL_FORMS
from app.training.data.label_column import LabelColumn, listing, shown
from app.training.data.label_compounds import warn_of_compounds
from app.training.data.label_conjunctions import warn_of_conjunctions, without_conjunctions
from app.training.data.label_forms import looks_like_list, split_labels, to_label_list
from app.wording import quantity

_DELIMITERS = {";": "';'", "\n": "line ends", "\t": "tabs", ",": "commas"}
_RECURRING = 0.8  # a delimiter separates labels if at least this share of the parts also occurs in other cells


def settle_lists(column: LabelColumn) -> None:
    """Infer the task from lists if the request names none, and split strings that clearly contain several labels.

    Adds remarks about these decisions, and about other labels that look like several labels.
    """
    if column.task_inferred and any(column.listed):
        _infer_task(column)
    if column.task == "multilabel":
        _split_joined(column)
        warn_of_conjunctions(column)
    else:
        _warn_of_lists(column)
    warn_of_compounds(column)


def _infer_task(column: LabelColumn) -> None:
    _refuse_unreadable(column)
    lists = [index for index, listed in enumerate(column.listed) if listed]
    several = any(len(column.cells[index]) != 1 for index in lists)
    column.task = "multilabel" if several else "classification"
    if several:
        message = "a row may have several labels or none, so the task is multilabel"
    else:
        message = "every list of labels has exactly one label, so the task is classification; set task to "
        message += "multilabel if rows may have several labels or none"
    column.remark("label_lists", message, lists)


def _refuse_unreadable(column: LabelColumn) -> None:
    """Raise BadData if some cells are lists, and others look like lists but cannot be read."""
    unreadable = _unreadable(column)
    if unreadable:
        example = shown(column.cells[unreadable[0]][0])
        rows = quantity(sum(column.rows[index] for index in unreadable), "row")
        message = f"some rows have lists of labels, but {example} cannot be read as a list ({rows} with such a cell); "
        message += f"{LABEL_FORMS}; to read each cell as one label, set task to classification"
        raise column.places[unreadable[0]].fault("label", message)


def _unreadable(column: LabelColumn) -> list[int]:
    """Return the indices of the cells that look like lists, but are single labels because they cannot be read."""
    cells = enumerate(zip(column.cells, column.listed, strict=True))
    texts = [(index, labels[0]) for index, (labels, listed) in cells if labels and not listed]
    return [index for index, text in texts if looks_like_list(text) and to_label_list(text) is None]


def _split_joined(column: LabelColumn) -> None:
    for delimiter, name in {"|": "'|'", **_DELIMITERS}.items():
        parts = {index: split_labels(column.cells[index][0], delimiter) for index in _joined(column, delimiter)}
        whole = [index for index, labels in parts.items() if labels == [column.cells[index][0]]]
        parts = {index: labels for index, labels in parts.items() if index not in whole}
        if delimiter == ",":
            parts = without_conjunctions(parts, {label for cell in column.cells for label in cell})
        if parts and not _is_separator(column, delimiter, parts):
            whole, parts = sorted([*whole, *parts]), {}
        if whole:
            advice = "separate several labels with |" if delimiter != "|" else "write several labels as a JSON list"
            message = f"labels such as {shown(column.cells[whole[0]][0])} contain {name}, and each cell is read as one "
            column.remark("delimiters", f"{message}label; {advice}", whole, "warn")
        if not parts:
            continue
        joined = list(parts)
        example = column.cells[joined[0]][0]
        for index, labels in parts.items():
            column.cells[index], column.listed[index] = tuple(sorted(set(labels))), True
        names = " and ".join(map(shown, parts[joined[0]]))
        message = f"labels are separated by {name}: {shown(example)} is read as {names}; write labels that contain "
        column.remark("separated_labels", f"{message}{name} as a JSON list", joined)


def _joined(column: LabelColumn, delimiter: str) -> list[int]:
    """Return the indices of the cells that contain the delimiter and are not lists."""
    cells = enumerate(zip(column.cells, column.listed, strict=True))
    return [index for index, (labels, listed) in cells if not listed and labels and delimiter in labels[0]]


def _is_separator(column: LabelColumn, delimiter: str, parts: dict[int, list[str]]) -> bool:
    """Whether the delimiter separates labels.

    This is assumed if most of the parts also occur in other cells, or if the column contains no other delimiter and no
    list of several labels.
    """
    others = any(_joined(column, other) for other in _DELIMITERS if other != delimiter)
    several = any(listed and len(labels) > 1 for labels, listed in zip(column.cells, column.listed, strict=True))
    return (not others and not several) or _recurring(column, parts) >= _RECURRING


def _recurring(column: LabelColumn, parts: dict[int, list[str]]) -> float:
    """Return the share of distinct parts that also occur in another cell, either as a whole label or as a part."""
    elsewhere = {label for index, labels in enumerate(column.cells) if index not in parts for label in labels}
    counts = Counter(part for labels in parts.values() for part in set(labels))
    return sum(part in elsewhere or count > 1 for part, count in counts.items()) / len(counts)


def _warn_of_lists(column: LabelColumn) -> None:
    """In a task with one label per row, warn about labels that look like several labels."""
    several = "; for several labels per row, set task to multilabel"
    lists = [index for index, labels in enumerate(column.cells) if labels and to_label_list(labels[0]) is not None]
    if lists:
        texts = listing(shown(column.cells[index][0]) for index in lists[:3])
        column.remark("list_labels", f"labels such as {texts} look like lists{several}", lists, "warn")
    if unreadable := _unreadable(column):
        texts = listing(shown(column.cells[index][0]) for index in unreadable[:3])
        message = f"labels such as {texts} look like several labels, but cannot be read as such, so each cell is read "
        message += f"as one label; for several labels per row, {LABEL_FORMS}, and set task to multilabel"
        column.remark("unreadable_lists", message, unreadable, "warn")
    if column.has_amounts:  # the commas in 266,70 do not separate labels
        return
    for delimiter, name in {"|": "'|'", **_DELIMITERS}.items():
        joined = [index for index in _joined(column, delimiter) if index not in {*lists, *unreadable}]
        if not joined:
            continue
        message = (
            f"labels such as {shown(column.cells[joined[0]][0])} contain {name}, and each cell is read as one label"
        )
        parts = {index: split_labels(column.cells[index][0], delimiter) for index in joined}
        separator = f"; each cell is then split at {name}"
        separator = separator if _is_separator(column, delimiter, parts) else ", and separate the labels with |"
        column.remark("delimiters", message + several + separator, joined, "warn")
