"""Reads the columns that several shapes of rows share: text columns, the target and the split."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from app.training.data.cells import (
    NO_LABEL,
    CellError,
    is_blank,
    to_input_text,
    to_label,
    to_mark,
    to_number,
    to_split,
)
from app.training.data.example import NOTHING, UNASSIGNED, Target
from app.training.data.files import Record
from app.training.data.guesses import Sample
from app.training.data.label_forms import is_one_hot, is_one_hot_cell, to_distinct, to_label_list, to_labels
from app.training.data.layouts import Layout
from app.training.data.mojibake import has_mojibake
from app.training.data.notes import (
    AS_TEXT,
    BLANK_FLAGS,
    EMPTY_PAIRS,
    EMPTY_PROMPTS,
    LINE_ENDS,
    MISSING_TEXTS,
    MOJIBAKE,
    NO_SPLIT,
    NUL_CHARACTERS,
    ONE_HOT_OBJECTS,
)
from app.training.data.usual_names import quoted
from app.training.failures import is_data_error

log = logging.getLogger(__name__)
T = TypeVar("T")
# Texts that programs write for a missing value, or for a formula that failed
_PLACEHOLDERS = {
    "nan",
    "none",
    "null",
    "<na>",
    "n/a",
    "#n/a",
    "#value!",
    "#ref!",
    "#name?",
    "#div/0!",
    "#num!",
    "#null!",
}
_LONGEST_PLACEHOLDER = 10
_OTHER_CELL = "; write a number, or delete the row if the value is missing, or if the row contains units or sums"
_SEPARATORS = ";|,\n["  # a label cell that contains one of these looks like several labels


def read(layout: Layout, record: Record, key: str, convert: Callable[[Any], T]) -> T:
    """Convert the value in the column for `key` with `convert`. Raises BadData if `convert` raises CellError."""
    try:
        return convert(record.values.get(layout.names[key]))
    except CellError as error:
        raise layout.fault(record.where, key, str(error)) from None


def read_text(layout: Layout, record: Record, key: str) -> str:
    """Return the text in the column for `key`."""
    return read(layout, record, key, to_input_text)


def read_notes(layout: Layout, record: Record, *keys: str) -> tuple[str, ...]:
    """Return the notes on the texts in a record's columns for `keys`, on its labels and on its split."""
    notes: list[str] = []
    for key in keys:
        value = record.values.get(layout.names[key])
        notes += _text_notes(key, value)
        if layout.task != "generation" and isinstance(value, str) and ("\n" in value or "\r" in value):
            notes.append(LINE_ENDS)
    if layout.one_hot and any(is_blank(record.values.get(name)) for name in layout.one_hot):
        notes.append(BLANK_FLAGS)
    if layout.task in ("classification", "multilabel") and "label" in layout.names:
        notes += [ONE_HOT_OBJECTS] * _has_one_hot_label(layout, record)
    if "split" in layout.names and is_blank(record.values.get(layout.names["split"])):
        notes.append(NO_SPLIT)
    return tuple(notes)


def _has_one_hot_label(layout: Layout, record: Record) -> bool:
    """Whether the labels of the record are read from an object of zeros and ones."""
    value = record.values.get(layout.names["label"])
    is_read = not isinstance(value, str) or layout.task_inferred or layout.task == "multilabel"
    return is_read and is_one_hot_cell(value)


def _text_notes(key: str, value: Any) -> Iterator[str]:
    """Yield the notes on a value in the text column for `key`."""
    if not isinstance(value, str):
        if not is_blank(value):
            yield AS_TEXT
        elif key == "prompt":
            yield EMPTY_PROMPTS
    else:
        yield from damage_notes(value)
        if len(value) <= _LONGEST_PLACEHOLDER and value.strip().casefold() in _PLACEHOLDERS:
            yield f"{MISSING_TEXTS}:{value.strip()}"
    if key == "text_pair" and is_blank(value):
        yield EMPTY_PAIRS


def damage_notes(text: str) -> Iterator[str]:
    """Yield the notes on characters that a text probably contains by mistake."""
    if has_mojibake(text):
        yield MOJIBAKE
    if "\0" in text:
        yield NUL_CHARACTERS


def read_target(layout: Layout, record: Record) -> Target:
    """Return the prediction target of the record, or `NOTHING` for generation."""
    if layout.task == "regression":
        return Target(value=read(layout, record, "value", to_number))
    if layout.one_hot:
        labels = tuple(sorted(name for name in layout.one_hot if _is_set(layout, record, name)))
        if layout.task == "classification" and not layout.task_inferred and len(labels) != 1:
            message = f"exactly one of the columns {quoted(layout.one_hot)} must be 1, but {len(labels)} are"
            raise layout.source.fault(message, record.where)
        return Target(labels, listed=True)
    if layout.task == "multilabel":
        return read(layout, record, "label", _to_targets)
    if layout.task == "classification":
        convert = _to_open_target if layout.task_inferred else _to_target
        return read(layout, record, "label", partial(_with_advice, layout, convert))
    return NOTHING


def read_step(layout: Layout, record: Record) -> list[float]:
    """Return the features of the step in a record, for a layout with a column for each feature."""
    return [_read_number(layout, record, column) for column in layout.steps]


def _read_number(layout: Layout, record: Record, column: str) -> float:
    try:
        return to_number(record.values.get(column))
    except CellError as error:
        advice = _OTHER_CELL if str(error).endswith(" is not a number") else ""
        raise layout.source.fault(f"{error}{advice}", record.where, f"column {column!r}") from None


def _with_advice(layout: Layout, convert: Callable[[Any], Target], value: Any) -> Target:
    """Convert a label cell. If it is empty, and other rows have several labels, the error proposes the right task."""
    try:
        return convert(value)
    except CellError as error:
        if str(error) != NO_LABEL or not (example := _several_labels(layout)):
            raise
        raise CellError(
            f"{NO_LABEL}; for rows with several ({example!r}) or no labels, set task to multilabel"
        ) from None


def _several_labels(layout: Layout) -> str:
    """Return the first cell of the label column that looks like several labels, or "" if there is none."""
    settled, name = layout.source.settled, layout.names["label"]
    if "several_labels" not in settled:
        cells = Sample(layout.source, [name], [name, *layout.names.values(), *layout.ignored]).texts_with(_SEPARATORS)
        settled["several_labels"] = cells[0] if cells else ""
    return str(settled["several_labels"])


def _to_target(value: Any) -> Target:
    if is_one_hot(value):
        labels = to_label_list(value) or []
        if len(labels) != 1:
            raise CellError(f"exactly one of the keys {quoted(value)} must be 1, but {len(labels)} are")
        return Target((to_label(labels[0]),))
    label = to_label(value)
    return Target((label,), typed=() if isinstance(value, str) else (label,))


def _to_targets(value: Any) -> Target:
    labels, listed = to_labels(value)
    return Target(labels, listed=listed, typed=_typed(value if isinstance(value, list) else [value] * bool(labels)))


def _typed(elements: list[Any]) -> tuple[str, ...]:
    """Return the labels that are not written as text."""
    return tuple(sorted({to_label(element) for element in elements if not isinstance(element, (str, list, dict))}))


def _to_open_target(value: Any) -> Target:
    """Return the target in a cell, for a request that does not name a task.

    If the cell is a list of labels, the task may become multilabel.
    """
    elements = to_label_list(value)
    is_text = isinstance(value, str)
    if elements is None or (is_text and not all(map(_is_label, elements))):
        return _to_target(value)
    return Target(to_distinct(elements), listed=True, typed=() if is_text else _typed(elements))


def _is_label(element: Any) -> bool:
    """Whether an element of a list in a text cell is a label: a string or a whole number, such as a class number."""
    return isinstance(element, str) or (isinstance(element, int) and not isinstance(element, bool))


def _is_set(layout: Layout, record: Record, name: str) -> bool:
    """Whether the record has the label `name`, that is, a 1 in the column of this name."""
    try:
        return to_mark(record.values.get(name))
    except CellError as error:
        raise layout.source.fault(str(error), record.where, f"column {name!r}") from None


def is_empty(layout: Layout, record: Record) -> bool:
    """Whether all used columns are empty in this record, as in a row that was cleared but not deleted."""
    values = record.values
    return all(is_blank(values.get(name)) for name in (*layout.names.values(), *layout.steps, *layout.one_hot))


def read_split(layout: Layout, record: Record) -> int:
    """Return the code of the split named in the record, or UNASSIGNED if there is none."""
    return read(layout, record, "split", to_split) if "split" in layout.names else UNASSIGNED


@contextmanager
def errors_as_faults(layout: Layout, record: Record) -> Iterator[None]:
    """Context manager that converts an unexpected error, probably caused by the data, to BadData.

    A record must not crash the trainer, because a crashed attempt is retried. BadData, in contrast, is reported to the
    user as an error in the record, with its location.
    """
    try:
        yield
    except Exception as error:
        if not is_data_error(error):
            raise
        log.exception("%s of %s cannot be read", record.where, layout.source.filename)
        raise layout.source.fault(
            f"the record cannot be read ({type(error).__name__}: {error})", record.where
        ) from None
