"""Advice for tables in which no text column is recognised, or in which the text column is mostly empty."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.training.data.cells import CellError, to_matrix
from app.training.data.files import Source
from app.training.data.guesses import Sample, joined
from app.training.data.usual_names import SUGGESTED_LABELS, TARGETS

SERIES_ADVICE = (
    "write each step of a series as a row of its own, with columns for the series (columns.series), the time "
    "(columns.time) and the features, or write each row as JSON with its steps as a list in `features`; the page "
    "docs/numeric.md shows how to convert a table with one series per row"
)
_FEWEST_NUMBERS = 2  # a table with at least this many columns of numbers may contain series
_EXPORT = {"data", "annotations"}  # keys of each record in Label Studio's complete export


def find_text_columns(source: Source, present: list[str], task: str | None) -> str:
    """Return advice on changing the request or the file, as the end of an error about a table without a text column.

    The advice mentions a column that looks like texts and one that looks like labels, if there are any. If the first
    line may be a row, the advice is also to add a header.
    """
    sample = Sample(source, present, present)
    if set(present) >= _EXPORT:
        return (
            "; if this is an export of Label Studio, its texts and labels are nested: export the project as JSON-MIN "
            "or CSV instead"
        )
    texts = sample.texts()
    if not texts and (nested := sample.nested()):
        return _use_nested(source, sample, nested, present)
    advice = "set columns.text to the name of the column that contains the texts" + _such_as(texts)
    if task != "generation" and not any(name.strip().lower() in TARGETS for name in present):
        advice += _name_labels(sample, texts)
    if sample.begins_with_row():
        row = "if the first line is a row, begin the file with a line of column names, such as text and label"
        if source.format == "jsonl":
            row = 'if the first array is a row, write each row as an object, such as {"text": "…", "label": "…"}'
            row += ', which pandas\' to_json does with orient="records"'
        return f"; {row}; otherwise, {advice}"
    advice += _name_pairs(texts, present, task)
    if not texts and task != "generation" and len(sample.numbers()) >= _FEWEST_NUMBERS:
        advice += "; if the columns of numbers are the input, set columns.value or columns.label to the column to "
        advice += f"predict, so that each row is an input with these numbers; if each row is a series, {SERIES_ADVICE}"
    return f"; {advice}"


def _use_nested(source: Source, sample: Sample, nested: list[str], present: list[str]) -> str:
    """Return the advice for a table with objects or lists: a numeric sequence if each value is one, or else rows."""
    if sequences := [name for name in nested if name in sample.of(_is_sequence)]:
        others = [name for name in present if name != sequences[0]]
        usual = [name for name in sample.by_likelihood(others) if name.strip().lower() in SUGGESTED_LABELS]
        values = sample.numbers()
        target = f"columns.label to {usual[0]!r}" if usual else "columns.label to the column of labels"
        target = f"columns.value to {values[0]!r}" if values and not usual else target
        target = "" if {"label", "value"} & set(present) else f", and {target}"
        return f"; {sequences[0]!r} contains numeric sequences: set columns.features to {sequences[0]!r}{target}"
    return (
        f"; the values in {nested[0]!r} are objects or lists: write each row as one flat object, such as "
        '{"text": "…", "label": "…"}'
    )


def _is_sequence(value: Any) -> bool:
    try:
        return isinstance(value, list) and bool(to_matrix(value).size)
    except CellError:
        return False


def _name_pairs(texts: list[str], present: list[str], task: str | None) -> str:
    """Return the part of the advice about a second column of texts, or "" if there is none."""
    if len(texts) > 1 and not {"label", "value"}.isdisjoint(present):
        return f"; if each row is a pair of texts, set columns.text_pair to the second column, such as {texts[1]!r}"
    way = "; if one column contains answers to another, rename these columns to prompt and completion"
    return way if len(texts) > 1 and task is None else ""


def _name_labels(sample: Sample, texts: list[str]) -> str:
    """Return the part of the advice about columns that look like labels, or "" if there are none."""
    flags = sample.flags()
    labels = sample.by_likelihood(name for name in sample.categories() if name not in texts[:1])
    if len(flags) > 1 and set(labels) <= set(flags):
        return f", and columns.label to the columns of zeros and ones, {joined(flags)!r}"
    return f", and columns.label to the name of the column that contains the labels{_such_as(labels)}" if labels else ""


def find_label_columns(source: Source, present: list[str], others: Sequence[str]) -> str:
    """Return advice on naming the label column, as the end of an error message about a table without one.

    `others` are the columns without a role.
    """
    sample = Sample(source, others, present)
    flags = sample.flags()
    if len(flags) > 1:
        return f"; set columns.label to the columns of zeros and ones, {joined(flags)!r}, if each belongs to one label"
    labels = sample.by_likelihood(sample.categories())
    return f"; set columns.label to the name of the column to predict{_such_as(labels)}"


def find_full_column(source: Source, column: str, others: tuple[str, ...]) -> str:
    """Return advice to use one of the `others`, as the end of a warning that `column` is mostly empty.

    Returns "" if none of them has texts in most rows.
    """
    texts = Sample(source, others, (column, *others)).full_texts()
    if not texts:
        return ""
    message = f"; most rows have no text in the column {column!r}, but the column {texts[0]!r} contains texts: "
    return f"{message}set columns.text to its name if it contains the input"


def _such_as(names: list[str]) -> str:
    return f", such as {names[0]!r}" if names else ""
