"""Reads the class names that Hugging Face's `datasets` library stores in the schema of a Parquet file."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from app.training.data.files import Record, Source
from app.wording import quantity

ClassNames = Mapping[str, tuple[str, ...]]  # maps each column to its class names, ordered by class number


def class_names(metadata: Mapping[bytes, bytes], columns: Collection[str]) -> ClassNames:
    """Return the class names of the columns that contain class numbers or lists of class numbers.

    `metadata` is the metadata of the schema; its entry "huggingface" describes the columns. A malformed description is
    ignored.
    """
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
        return {name: names for name in features if name in columns and (names := _names(features[name]))}
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}


def apply_names(source: Source, record: Record, classes: ClassNames) -> Record:
    """Replace the class numbers of a record with class names.

    The number -1 stands for an unknown class and becomes None. If any other number has no name, returns a faulty
    record.
    """
    for column, names in classes.items():
        value = record.values.get(column)
        numbers = value if isinstance(value, list) else [value]
        for number in numbers:
            if isinstance(number, int) and not -1 <= number < len(names):
                reason = f"the class {number} has no name; the schema has {quantity(len(names), 'name')}"
                return Record(record.where, {}, source.fault(reason, record.where, f"column {column!r}"))
        named = [_named(number, names) for number in numbers]
        record.values[column] = named if isinstance(value, list) else named[0]
    return record


def _named(value: Any, names: tuple[str, ...]) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return names[value] if value >= 0 else None
    return value


def _names(feature: Any) -> tuple[str, ...]:
    """Return the class names of a ClassLabel feature or of a sequence of ClassLabels, or () for other features."""
    if isinstance(feature, list) and len(feature) == 1:
        return _names(feature[0])
    if not isinstance(feature, dict):
        return ()
    if feature.get("_type") == "ClassLabel":
        names = feature.get("names")
        return tuple(map(str, names)) if isinstance(names, list) else ()
    return _names(feature.get("feature"))
