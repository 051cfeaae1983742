"""From the files of a run to prepared numbers: read, check, split, make the tokenizer, encode.

Rows are read again rather than kept: to check and split, to train the tokenizer (on train rows alone), to encode.
Knows files, splits and columns; knows no network.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from app.errors import CheckpointInvalid, InvalidRequest
from app.training.base import BaseCheckpoint
from app.training.data import layouts
from app.training.data.columns import Layout
from app.training.data.files import Source, detect
from app.training.data.scan import DataFiles, scan
from app.training.failures import BadData, BadOption, TrainingFailure, by_data
from app.training.prepare import encode, encode_generation, report
from app.training.prepare.dataset import Dataset
from app.wire.trainer import DataFile, TrainSpec
from app.wire.training_options import VALIDATION_SPLIT

log = logging.getLogger(__name__)
Check = Callable[[], None]


def prepare(run: Path, spec: TrainSpec, base: BaseCheckpoint | None, aside: Path, check: Check) -> Dataset:
    """`aside` is a folder for what is made; `check` is called while a table is read, and may raise StopRequested.

    Whatever is wrong with the data ends as BadData: another try would end alike.
    """
    if not 0 < spec.validation_split < 1:
        raise BadOption("validation_split", f"{spec.validation_split} is not above 0 and below 1")
    try:
        return _prepare(run, spec, base, aside, check)
    except CheckpointInvalid as error:
        raise TrainingFailure("invalid_base_model", f"the version to fine-tune: {error.message}", "model") from None
    except InvalidRequest as error:
        if error.code == "invalid_text":
            raise BadData(error.message) from None
        raise BadOption(f"training.{error.param or 'tokenizer'}", error.message) from None
    except Exception as error:
        if not by_data(error):
            raise
        log.exception("the data cannot be prepared")
        name = spec.training_file.filename
        raise BadData(f"{name} cannot be learned from ({type(error).__name__}: {error})") from error


def _prepare(run: Path, spec: TrainSpec, base: BaseCheckpoint | None, aside: Path, check: Check) -> Dataset:
    source = _source(run, spec.training_file, "training_file")
    if source.format == "text":
        _refuse_tables_task(source, spec)
        text = None if spec.validation_file is None else _validation_text(run, spec.validation_file)
        made = encode_generation.plain_text(source, text, spec, base, aside)
        return _with_report(made, {})
    layout = layouts.find(source, spec.columns, spec.task)
    held_out = None if spec.validation_file is None else _validation(run, spec, layout)
    files = DataFiles(layout, held_out, check)
    found = scan(files, spec.validation_split, aside)
    made = _encoder(layout)(files, found, spec, base, aside)
    told = report.of_rows(found) | {"ignored_columns": list(layout.ignored)}
    if found.given and held_out is None and spec.validation_split != VALIDATION_SPLIT:
        told["unused_split"] = spec.validation_split
    return _with_report(made, told)


def _with_report(made: Dataset, told: dict[str, object]) -> Dataset:
    told = told | report.of_parts(made.parts) | made.facts.report
    return replace(made, facts=replace(made.facts, report=told))


def _encoder(layout: Layout) -> encode.Encoder:
    if layout.shape in ("features", "series"):
        return encode.numbers
    if layout.task == "generation":
        return encode_generation.documents if layout.shape == "text" else encode_generation.completions
    return encode.texts


def _source(run: Path, file: DataFile, param: str) -> Source:
    return detect(run / file.path, file.filename, file.format, param)


def _refuse_tables_task(source: Source, spec: TrainSpec) -> None:
    named = [key for key in spec.columns.__struct_fields__ if getattr(spec.columns, key) is not None]
    if named:
        raise source.fault(
            f"is plain text, which has no columns: leave columns.{named[0]} out", param="columns." + named[0]
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


def _validation(run: Path, spec: TrainSpec, training: Layout) -> Layout:
    assert spec.validation_file is not None
    source = _source(run, spec.validation_file, "validation_file")
    if source.format == "text":
        raise source.fault("is plain text, but the training file is a table")
    layout = layouts.find(source, spec.columns, training.task)
    if (layout.shape, layout.steps) != (training.shape, training.steps):
        raise source.fault(f"has other columns than {training.source.filename}")
    return layout
