"""Checks data files before a training run or an evaluation, using the readers that the trainer uses. Imports no torch.

The command line checks local files with this module before it uploads them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from app.training.data import text as text_file
from app.training.data.detection import detect
from app.training.data.example import TEST, VALIDATION
from app.training.data.faults import BadRows
from app.training.data.inputs import NUMERIC, TextFiles, check_input, open_files
from app.training.data.label_twins import check_labels
from app.training.data.report import table_report, text_report, warnings_of
from app.training.data.row_sample import TRAIN_SAMPLE
from app.training.data.scan import DataFiles, scan_files, scan_held_out
from app.training.failures import BadData, is_data_error
from app.wire.training_options import VALIDATION_SPLIT, Columns


@dataclass(frozen=True, slots=True)
class DataReport:
    """The result of checking data files: a report on their content, or an error if they cannot be used.

    `report` has the keys of the job's `data_report` event, except for the keys that require a tokenizer. For a
    table, it has `rows` and `lengths` for each split, `labels` (for each split, the number of rows of each label),
    `empty`, `duplicates`, `leaks`, `columns` (the column of each role), `ignored_columns` and `remarks` (dicts with the
    keys kind, message, level, where and count) and, for generation, `characters`. For plain text, it has `characters`
    and `remarks`. If there is an `error`, the report has only `remarks`.
    `unit` is the unit of `lengths`: "characters" or "steps".
    """

    task: str | None
    report: dict[str, Any] = field(default_factory=dict)
    error: BadData | None = None
    unit: str = "characters"

    @property
    def warnings(self) -> list[tuple[str, str]]:
        """Return the kind and the message of each warning that the training run would issue for this report."""
        return warnings_of(self.report, self.task)

    @property
    def faults(self) -> list[BadData]:
        """Return the faults in the first hundred unusable rows, or the file's single fault."""
        if isinstance(self.error, BadRows):
            return self.error.faults
        return [] if self.error is None else [self.error]


def check_files(
    training: Path,
    validation: Path | None = None,
    *,
    task: str | None = None,
    columns: Columns | None = None,
    validation_split: float = VALIDATION_SPLIT,
    skip_bad_rows: float = 0.0,
    encoding: str | None = None,
    check: Callable[[], None] = lambda: None,
) -> DataReport:
    """Read and check all rows of the files, as a training run does.

    `check` is called for each row of a table, and may raise an exception to stop the reading.

    Raises OSError for a file that cannot be opened. Writes nothing to disk and does not keep the rows in memory.
    """
    sources = []
    settled = task
    try:
        sources = [detect(training, training.name, encoding=encoding)]
        if validation is not None:
            sources.append(detect(validation, validation.name, param="validation_file", encoding=encoding))
        files = open_files(sources[0], sources[1] if validation else None, columns or Columns(), task, check)
        if isinstance(files, TextFiles):
            return DataReport("generation", {"characters": _characters(files)} | text_report(files))
        settled = files.training.task
        return _check_table(files, validation_split, skip_bad_rows)
    except BadData as error:
        failure = error
    except Exception as error:
        if not is_data_error(error):
            raise
        failure = BadData(f"{training.name} cannot be used for training ({type(error).__name__}: {error})")
    remarks = [remark.to_dict() for source in sources for remark in source.remarks]
    return DataReport(settled, {"remarks": remarks}, failure)


def check_held_out(
    path: Path,
    task: str,
    takes: str,
    columns: Columns | None = None,
    skip_bad_rows: float = 0.0,
    encoding: str | None = None,
    labels: Sequence[str] = (),
) -> DataReport:
    """Read and check all rows of an evaluation file.

    `task` is the task of the version, `takes` is its kind of input (tokens or features), and `labels` are its labels.
    In the report, rows without a split are validation rows.
    """
    return _check_alone(path, task, columns or Columns(), "file", takes, skip_bad_rows, encoding, labels)


def check_validation(
    path: Path, task: str | None, columns: Columns, skip_bad_rows: float = 0.0, encoding: str | None = None
) -> DataReport:
    """Read and check all rows of a validation file without reading its training file."""
    return _check_alone(path, task, columns, "validation_file", skip_bad_rows=skip_bad_rows, encoding=encoding)


def _check_alone(
    path: Path,
    task: str | None,
    columns: Columns,
    param: str,
    takes: str | None = None,
    skip_bad_rows: float = 0.0,
    encoding: str | None = None,
    labels: Sequence[str] = (),
) -> DataReport:
    """Check an evaluation or validation file, whose rows are all held out.

    `param` is the request field that names the file.
    """
    try:
        source = detect(path, path.name, param=param, encoding=encoding)
        files = open_files(source, None, columns, task)
        if takes is not None:
            check_input(files, takes)
        if isinstance(files, TextFiles):
            return DataReport("generation", {"characters": {"validation": text_file.length(files.training)}})
        scan = scan_held_out(files, None, labels, skip_bad_rows)
        if labels:
            check_labels(source, scan.labels, labels)
        scan.splits_N = np.where(scan.splits_N == TEST, TEST, VALIDATION).astype(np.uint8)
        return DataReport(scan.task, table_report(files, scan, VALIDATION_SPLIT), unit=_unit(files))
    except BadData as error:
        return DataReport(task, error=error)
    except Exception as error:
        if not is_data_error(error):
            raise
        message = f"{path.name} cannot be read ({type(error).__name__}: {error})"
        return DataReport(task, error=BadData(message, file=param))


def _check_table(files: DataFiles, validation_split: float, skip_bad_rows: float) -> DataReport:
    scan = scan_files(files, validation_split, None, skip_bad_rows)
    report = table_report(files, scan, validation_split)
    del report[TRAIN_SAMPLE]  # this sample is stored with a version, but not reported
    return DataReport(scan.task, report, unit=_unit(files))


def _unit(files: DataFiles) -> str:
    return "steps" if files.training.shape in NUMERIC else "characters"


def _characters(files: TextFiles) -> dict[str, int]:
    characters = {"train": text_file.length(files.training)}
    if files.validation is not None:
        characters["validation"] = text_file.length(files.validation)
    return characters
