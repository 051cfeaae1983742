"""Reads the columns of a record that rows of several shapes share: texts, the target and the split."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from app.training.data.cells import CellError, to_label, to_labels, to_number, to_split, to_text
from app.training.data.example import UNASSIGNED
from app.training.data.files import Record
from app.training.data.layouts import Layout
from app.training.failures import is_data_error

log = logging.getLogger(__name__)
T = TypeVar("T")


def read(layout: Layout, record: Record, key: str, convert: Callable[[Any], T]) -> T:
    """The converted value of the column that holds `key`. Raises BadData with the place of a value that is wrong."""
    try:
        return convert(record.values.get(layout.names[key]))
    except CellError as error:
        raise layout.fault(record.where, key, str(error)) from None


def read_text(layout: Layout, record: Record, key: str) -> str:
    """The text of the column that holds `key`."""
    return read(layout, record, key, to_text)


def read_target(layout: Layout, record: Record) -> tuple[tuple[str, ...], float]:
    """(labels, value): what the task predicts for the record. A task without labels has (), one without values 0.0."""
    if layout.task == "regression":
        return (), read(layout, record, "value", to_number)
    if layout.task == "multilabel":
        return read(layout, record, "label", to_labels), 0.0
    if layout.task == "classification":
        return (read(layout, record, "label", to_label),), 0.0
    return (), 0.0


def read_split(layout: Layout, record: Record) -> int:
    """The code of the split that the record names; UNASSIGNED in a file without a split column."""
    return read(layout, record, "split", to_split) if "split" in layout.names else UNASSIGNED


@contextmanager
def errors_as_faults(layout: Layout, record: Record) -> Iterator[None]:
    """Turn an unexpected error inside the block into BadData with the record's place.

    Whatever a record holds, the job must end with a message about the data, and not as a broken trainer that is tried
    again.
    """
    try:
        yield
    except Exception as error:
        if not is_data_error(error):
            raise
        log.exception("%s of %s cannot be read", record.where, layout.source.filename)
        raise layout.source.fault(f"cannot be read ({type(error).__name__}: {error})", record.where) from None
