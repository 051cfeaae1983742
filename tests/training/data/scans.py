"""Functions that run the first pass over a data file, and return its remarks."""

from __future__ import annotations

from pathlib import Path

from app.training.data.inputs import open_files
from app.training.data.remarks import Remark
from app.training.data.scan import DataFiles, Scan, scan_files
from app.wire.training_options import Columns
from tests.training.data.tables import detected, write


def scan(
    path: Path,
    task: str | None = None,
    *,
    skip_bad_rows: float = 0.0,
    staging: Path | None = None,
    base_labels: tuple[str, ...] = (),
    **named: str,
) -> tuple[Scan, dict[str, Remark]]:
    """The scan of a table, and its remarks by kind. `named` contains the columns that the request names."""
    files = open_files(detected(path), None, Columns(**named), task)
    assert isinstance(files, DataFiles)
    result = scan_files(files, 0.1, staging, skip_bad_rows, base_labels)
    return result, {remark.kind: remark for remark in files.training.source.remarks}


def scan_labels(
    folder: Path, labels: list[str], task: str | None = None, base_labels: tuple[str, ...] = (), repeat: int = 4
) -> tuple[Scan, dict[str, Remark]]:
    """The scan of a CSV file with `repeat` rows of each label."""
    cells = ['"' + label.replace('"', '""') + '"' for label in labels] * repeat
    rows = "".join(f"row {number},{cell}\n" for number, cell in enumerate(cells))
    return scan(write(folder, "a.csv", f"text,label\n{rows}"), task, base_labels=base_labels)
