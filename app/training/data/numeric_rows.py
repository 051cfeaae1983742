"""Finds the columns of plain tables of numbers, in which each row is an input, and the labels of numeric inputs."""

from __future__ import annotations

import re
from collections.abc import Sequence

from app.training.data.advice import SERIES_ADVICE
from app.training.data.files import Source
from app.training.data.guesses import Sample
from app.training.data.usual_names import USUAL_LABELS, quoted
from app.training.failures import BadData
from app.wire.training_options import Columns

_ROW_NAMES = {"id", "index", "idx", "nr", "nr.", "no", "no.", "number", "row", "row_id", "rowid", "#", "unnamed: 0"}
_STEP_NAMES = {"time", "timestamp", "datetime", "date", "t", "step", "series", "series_id"}
_NUMBERED = re.compile(r"(.*?)(\d+)", re.DOTALL)
_FEWEST_STEPS = 3  # at least this many numbered columns may be the steps of a series


def find_row_features(
    source: Source,
    columns: Columns,
    names: dict[str, str],
    one_hot: tuple[str, ...],
    task: str | None,
    present: Sequence[str],
) -> tuple[str, ...]:
    """Return the columns with the features of each row in a plain table of numbers, or () for any other table.

    `names` maps the keys to their columns; for a plain table, the key `time` is removed. The column to predict is the
    one that the request names or, by default, the one with a usual name. Raises BadData if the request names the column
    to predict, but it is uncertain which columns contain the features.
    """
    if task == "generation" or {"text", "text_pair"} & names.keys():
        return ()
    target = one_hot or tuple(names[key] for key in ("label", "value") if key in names)
    others = _without(present, [*(name for key, name in names.items() if key != "time"), *target])
    if not target and task != "regression" and (usual := _usual_label(source, others, present)):
        target, others = (usual,), _without(others, [usual])
    features = _features(source, columns, target, others, present)
    if features:
        names.pop("time", None)  # the steps of a series have times, but these rows are no such steps
    return features


def _without(names: Sequence[str], excluded: Sequence[str]) -> list[str]:
    return [name for name in names if name not in excluded]


def _features(
    source: Source, columns: Columns, target: Sequence[str], others: Sequence[str], present: Sequence[str]
) -> tuple[str, ...]:
    """Return the features for the columns to predict, `target`, among the columns without a role, `others`.

    Columns that number the rows are not features, unless the request lists the features.
    """
    listed = tuple(name.strip() for name in (columns.features or "").split(",") if name.strip())
    sample = Sample(source, others, present)
    nearly = sample.nearly_numbers()  # their other cells are reported as faults of their rows
    if not target or _are_numbered(listed or others) or (not listed and _without(sample.texts(), nearly)):
        return ()
    ids = () if listed else _row_numbers(sample, others)
    numbers = tuple(_without(nearly, ids))
    is_named = bool(columns.value or columns.label)
    if not listed and (doubt := _doubt(others, numbers, ids)):
        if is_named and numbers:
            raise source.fault(f"{doubt}{_ways(target, numbers)}", param="columns.features")
        return ()
    features = listed or numbers
    if features:
        message = f"is read as a table in which each row is an input of one step with the features {quoted(features)}"
        unused = f"; not used, because it numbers the rows: {quoted(ids)}" if ids else ""
        source.remark("row_features", message + unused)
    return features


def _are_numbered(names: Sequence[str]) -> bool:
    """Whether the names differ only in consecutive numbers at their ends, as those of the steps of a series do."""
    names = [name for name in names if name.lower() not in _ROW_NAMES]
    parts = [match.groups() for name in names if (match := _NUMBERED.fullmatch(name))]
    if len(parts) < max(_FEWEST_STEPS, len(names)):
        return False
    first = int(parts[0][1])
    return all(prefix == parts[0][0] and int(number) == first + k for k, (prefix, number) in enumerate(parts))


def _row_numbers(sample: Sample, names: Sequence[str]) -> tuple[str, ...]:
    """Return the columns with a name such as id that have a different whole number in each row."""
    return tuple(name for name in sample.distinct_whole_numbers() if name.strip().lower() in _ROW_NAMES)


def _doubt(others: Sequence[str], numbers: Sequence[str], ids: Sequence[str]) -> str:
    """Return the reason why it is uncertain which columns contain the features of a row, or "" if it is certain."""
    if steps := [name for name in others if name.strip().lower() in _STEP_NAMES]:
        return (
            f"has the column {steps[0]!r}, so its rows may be steps of series: if they are, set columns.series and "
            "columns.time to the columns with the series and the time of each step; otherwise, "
        )
    if rest := [name for name in others if name not in (*numbers, *ids)]:
        return f"has columns that do not contain numbers: {quoted(rest)}. To use them, write their values as numbers; "
    return ""


def _ways(target: Sequence[str], numbers: Sequence[str]) -> str:
    return (
        f"to predict {quoted(target)} from other columns of numbers, set columns.features to their names, "
        f"such as {','.join(numbers)!r}; each row is then an input of one step with these features; to predict it from "
        "texts, set columns.text to the column of texts"
    )


def wide_series(source: Source) -> BadData:
    """Return the error for a table with listed feature columns, but without a column that identifies the series."""
    reason = "has no column 'series', although columns.features lists several columns: set columns.series to the column"
    message = f"{reason} that identifies the series of each row. If each row is a series, {SERIES_ADVICE}. If each row "
    message += "is an input with these features, set columns.value or columns.label to the column to predict"
    return source.fault(message, param="columns.features")


def add_numeric_label(source: Source, names: dict[str, str], present: Sequence[str], task: str | None) -> None:
    """If a table of numeric inputs has no target, but one column with a usual name for labels, add it to `names`."""
    if {"label", "value"} & names.keys() or task in ("generation", "regression"):
        return
    if usual := _usual_label(source, _without(present, list(names.values())), present):
        names["label"] = usual
        source.remark("usual_name", f"has no column 'label'; {usual!r} is used for the labels")


def _usual_label(source: Source, others: Sequence[str], present: Sequence[str]) -> str:
    """Return the only column with a usual name for labels in a table of numeric inputs, or "" if there is none.

    A column of numbers with fractions, or with many different numbers, probably contains values.
    """
    usual = [name for name in others if name.strip().lower() in USUAL_LABELS]
    if len(usual) != 1 or usual[0] in Sample(source, usual, present).numbers():
        return ""
    return usual[0]


def no_target(source: Source, requested: str | None, others: Sequence[str], present: Sequence[str]) -> BadData:
    """Return the error for numeric sequences without a target. `others` are the columns without a role."""
    if requested == "generation":
        return source.fault("contains numbers, but generation requires text")
    values = Sample(source, others, present).numbers()
    such = f", such as {values[0]!r}" if values else ""
    ways = f"set columns.label to the column of labels, or columns.value to the column of values to predict{such}"
    listed = f" (the other columns are {quoted(others)})" if others else ""
    return source.fault(f"contains numeric sequences, but no column to predict: {ways}{listed}")
