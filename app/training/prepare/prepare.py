"""Converts the data files of a run to a dataset: reads, checks and splits the rows, trains the tokenizer, and encodes
the rows.

Rows are not kept in memory. The files are read in several passes: to check and split the rows, to train the tokenizer
(on training rows only), and to encode the rows.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from app.errors import CheckpointInvalid, InvalidRequest
from app.training.base import BaseCheckpoint
from app.training.data.detection import detect
from app.training.data.feature_names import other_features
from app.training.data.files import Source
from app.training.data.inputs import NUMERIC, TextFiles, open_files
from app.training.data.layouts import Layout
from app.training.data.report import table_report, text_report
from app.training.data.scan import DataFiles, scan_files
from app.training.failures import BadData, BadOption, Check, TrainingFailure, is_data_error
from app.training.prepare import encode, encode_generation, report
from app.training.prepare.dataset import Dataset
from app.wire.trainer import DataFile, TrainSpec

log = logging.getLogger(__name__)


def prepare(run: Path, spec: TrainSpec, base: BaseCheckpoint | None, staging: Path, check: Check) -> Dataset:
    """Prepare the data of the run directory `run`. All files are created in the folder `staging`.

    `check` is called for each row of a table, and may raise StopRequested. Every error caused by the data, even an
    unexpected one, is raised as a TrainingFailure such as BadData, because a retry would fail in the same way.
    """
    if not 0 < spec.validation_split < 1:
        raise BadOption("validation_split", f"must be above 0 and below 1, not {spec.validation_split}")
    try:
        return _prepare(run, spec, base, staging, check)
    except CheckpointInvalid as error:
        raise TrainingFailure(
            "invalid_base_model", f"the version to fine-tune is not valid: {error.message}", "model"
        ) from None
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
    files = _open(run, spec, check)
    if isinstance(files, TextFiles):
        if spec.training.skip_bad_rows:
            raise BadOption("training.skip_bad_rows", "applies only to tables; plain text has no rows to drop")
        dataset = encode_generation.encode_plain_text(files.training, files.validation, spec, base, staging)
        return _with_report(dataset, text_report(files))
    base_labels = () if base is None else base.labels
    scan = scan_files(files, spec.validation_split, staging, spec.training.skip_bad_rows or 0.0, base_labels)
    if base and (warning := other_features(base.training, "the version to fine-tune", files.training)):
        files.training.source.remark("other_features", warning, level="warn")
    dataset = _encoder(files.training)(files, scan, spec, base, staging)
    return _with_report(dataset, table_report(files, scan, spec.validation_split))


def _open(run: Path, spec: TrainSpec, check: Check) -> DataFiles | TextFiles:
    def source(file: DataFile, param: str) -> Source:
        return detect(run / file.path, file.filename, file.format, param, spec.training.encoding)

    training = source(spec.training_file, "training_file")
    validation = None if spec.validation_file is None else source(spec.validation_file, "validation_file")
    return open_files(training, validation, spec.columns, spec.task, check)


def _with_report(dataset: Dataset, data_report: dict[str, object]) -> Dataset:
    whole = data_report | report.of_parts(dataset.parts) | dataset.facts.report
    return replace(dataset, facts=replace(dataset.facts, report=whole))


def _encoder(layout: Layout) -> encode.Encoder:
    if layout.shape in NUMERIC:
        return encode.encode_numbers
    if layout.task == "generation":
        is_text = layout.shape == "text"
        return encode_generation.encode_documents if is_text else encode_generation.encode_completions
    return encode.encode_texts
