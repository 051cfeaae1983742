"""Turns the data files of a run into a dataset: read, check, split, make the tokenizer, encode.

Rows are not kept in memory but read in several passes: to check and split them, to train the tokenizer (on train rows
alone), and to encode them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from app.errors import CheckpointInvalid, InvalidRequest
from app.training.base import BaseCheckpoint
from app.training.data.files import Source, detect
from app.training.data.layouts import Layout, find_layout
from app.training.data.scan import DataFiles, scan_files
from app.training.failures import BadData, BadOption, TrainingFailure, is_data_error
from app.training.prepare import encode, encode_generation, report
from app.training.prepare.dataset import Dataset
from app.wire.trainer import DataFile, TrainSpec
from app.wire.training_options import VALIDATION_SPLIT

log = logging.getLogger(__name__)
Check = Callable[[], None]


def prepare(run: Path, spec: TrainSpec, base: BaseCheckpoint | None, staging: Path, check: Check) -> Dataset:
    """Prepare the data of the run directory `run`, with all files that this creates in the folder `staging`.

    `check` is called for each row of a table; it may raise StopRequested. Any error that the data causes, also an
    unexpected one, is raised as BadData: another attempt would fail in the same way.
    """
    if not 0 < spec.validation_split < 1:
        raise BadOption("validation_split", f"{spec.validation_split} is not above 0 and below 1")
    try:
        return _prepare(run, spec, base, staging, check)
    except CheckpointInvalid as error:
        raise TrainingFailure("invalid_base_model", f"the version to fine-tune: {error.message}", "model") from None
    except InvalidRequest as error:
        if error.code == "invalid_text":
            raise BadData(error.message) from None
        raise BadOption(f"training.{error.param or 'tokenizer'}", error.message) from None
    except Exception as error:
        if not is_data_error(error):
            raise
        log.exception("the data cannot be prepared")
        name = spec.training_file.filename
        raise BadData(f"{name} cannot be used for training ({type(error).__name__}: {error})") from error


def _prepare(run: Path, spec: TrainSpec, base: BaseCheckpoint | None, staging: Path, check: Check) -> Dataset:
    source = _source(run, spec.training_file, "training_file")
    if source.format == "text":
        _refuse_table_options(source, spec)
        held_out = None if spec.validation_file is None else _validation_text(run, spec.validation_file)
        dataset = encode_generation.encode_plain_text(source, held_out, spec, base, staging)
        return _with_report(dataset, {}, source, held_out)
    layout = find_layout(source, spec.columns, spec.task)
    validation = None if spec.validation_file is None else _validation_layout(run, spec, layout)
    files = DataFiles(layout, validation, check)
    scan = scan_files(files, spec.validation_split, staging)
    dataset = _encoder(layout)(files, scan, spec, base, staging)
    rows_report = report.of_rows(scan) | {"ignored_columns": list(layout.ignored)}
    if scan.has_validation_rows and validation is None and spec.validation_split != VALIDATION_SPLIT:
        rows_report["unused_split"] = spec.validation_split
    return _with_report(dataset, rows_report, source, validation.source if validation else None)


def _with_report(
    dataset: Dataset, rows_report: dict[str, object], source: Source, validation: Source | None
) -> Dataset:
    remarks = [remark.to_dict() for file in (source, validation) if file is not None for remark in file.remarks]
    if remarks:
        rows_report = rows_report | {"remarks": remarks}
    whole = rows_report | report.of_parts(dataset.parts) | dataset.facts.report
    return replace(dataset, facts=replace(dataset.facts, report=whole))


def _encoder(layout: Layout) -> encode.Encoder:
    if layout.shape in ("features", "series"):
        return encode.encode_numbers
    if layout.task == "generation":
        is_text = layout.shape == "text"
        return encode_generation.encode_documents if is_text else encode_generation.encode_completions
    return encode.encode_texts


def _source(run: Path, file: DataFile, param: str) -> Source:
    return detect(run / file.path, file.filename, file.format, param)


def _refuse_table_options(source: Source, spec: TrainSpec) -> None:
    """Raise BadData if the request has options that plain text cannot meet: columns, or another task."""
    keys = [key for key in spec.columns.__struct_fields__ if getattr(spec.columns, key) is not None]
    if keys:
        raise source.fault(
            f"is plain text, which has no columns: leave columns.{keys[0]} out", param="columns." + keys[0]
        )
    if spec.task not in (None, "generation"):
        raise source.fault(
            f"is plain text, which is data for generation; {spec.task} needs a table with columns "
            "(CSV, TSV, JSONL or parquet)"
        )


def _validation_text(run: Path, file: DataFile) -> Source:
    source = _source(run, file, "validation_file")
    if source.format != "text":
        raise source.fault(f"is {source.format}, but the training file is plain text")
    return source


def _validation_layout(run: Path, spec: TrainSpec, training: Layout) -> Layout:
    assert spec.validation_file is not None
    source = _source(run, spec.validation_file, "validation_file")
    if source.format == "text":
        raise source.fault("is plain text, but the training file is a table")
    layout = find_layout(source, spec.columns, training.task)
    if (layout.shape, layout.steps) != (training.shape, training.steps):
        raise source.fault(f"has other columns than {training.source.filename}")
    return layout
