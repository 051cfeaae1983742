"""Opens the data files of a training run, and checks that they match each other and the request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import msgspec

from app.training.data.files import Source
from app.training.data.layouts import Layout, find_layout
from app.training.data.recognition import as_table
from app.training.data.scan import DataFiles
from app.wire.file_formats import TABLES
from app.wire.training_options import Columns
from app.wording import listed

NUMERIC = ("features", "series", "row")  # the shapes of layouts with numeric sequences
LABELLED = ("classification", "multilabel")


@dataclass(frozen=True, slots=True)
class TextFiles:
    """Plain text for generation: the training file and, if the request names one, the validation file."""

    training: Source
    validation: Source | None = None


def open_files(
    training: Source,
    validation: Source | None,
    columns: Columns,
    task: str | None,
    check: Callable[[], None] = lambda: None,
) -> DataFiles | TextFiles:
    """Return the files with their layouts. `check` will be called for each row that is read from the `DataFiles`.

    Raises BadData if the files do not match each other or the request.
    """
    training = as_table(training, task, columns)
    validation = None if validation is None else as_table(validation, task, columns)
    if training.format == "text":
        _refuse_table_options(training, columns, task)
        if validation is not None and validation.format != "text":
            raise validation.fault(f"is a {validation.format} file, but the training file is plain text")
        return TextFiles(training, validation)
    layout = find_layout(training, columns, task)
    return DataFiles(layout, None if validation is None else _validation_layout(validation, columns, layout), check)


def check_input(files: DataFiles | TextFiles, takes: str) -> None:
    """Raise BadData if the files do not contain the kind of input that the version expects.

    `takes` is the `input` of the version's configuration: tokens or features.
    """
    numeric = isinstance(files, DataFiles) and files.training.shape in NUMERIC
    if numeric != (takes == "features"):
        source = files.training.source if isinstance(files, DataFiles) else files.training
        kinds = ("numbers", "text") if numeric else ("text", "numbers")
        raise source.fault(f"contains {kinds[0]}, but the version expects {kinds[1]}")


def _refuse_table_options(source: Source, columns: Columns, task: str | None) -> None:
    """Raise BadData if the request has options that do not apply to plain text: columns, or a task other than
    generation.
    """
    keys = [key for key in columns.__struct_fields__ if getattr(columns, key) is not None]
    if keys:
        raise source.fault(
            f"is plain text, which has no columns; leave out columns.{keys[0]}", param="columns." + keys[0]
        )
    if task not in (None, "generation"):
        raise source.fault(
            f"is plain text, which can be used only for generation; {task} requires a table with columns "
            f"({listed(TABLES)})"
        )


def _validation_layout(source: Source, columns: Columns, training: Layout) -> Layout:
    if source.format == "text":
        raise source.fault("is plain text, but the training file is a table")
    # Labels are read from the columns that have the same names as in the training file.
    label = ",".join(training.one_hot) or (training.names.get("label") if training.task in LABELLED else None)
    columns = columns if label is None else msgspec.structs.replace(columns, label=label)
    layout = replace(find_layout(source, columns, training.task), task_inferred=training.task_inferred)
    if (layout.shape, layout.steps, layout.one_hot) != (training.shape, training.steps, training.one_hot):
        raise source.fault(f"does not have the same columns as {training.source.filename}")
    _check_column("text_pair", layout, training, layout.has_pairs, training.has_pairs)
    if layout.shape == "series":
        _check_column("time", layout, training, "time" in layout.names, "time" in training.names)
    return layout


def _check_column(key: str, layout: Layout, training: Layout, present: bool, expected: bool) -> None:
    """Raise BadData if only one of the files has the column for `key`, because their inputs would differ in kind."""
    if present != expected:
        column = repr((layout if present else training).names[key])
        name = training.source.filename
        differs = (
            f"has the column {column}, but {name} does not"
            if present
            else f"has no column {column}, but {name} has one"
        )
        raise layout.source.fault(f"{differs}; both files must have the same columns")
