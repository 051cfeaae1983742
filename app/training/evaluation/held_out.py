"""Converts an evaluation file to a dataset, with the tokenizer, scales and labels of the evaluated version."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.training.base import BaseCheckpoint
from app.training.data.detection import detect
from app.training.data.example import SPLIT_NAMES, TEST, TRAIN, UNASSIGNED, VALIDATION
from app.training.data.inputs import NUMERIC, TextFiles, check_input, open_files
from app.training.data.label_twins import check_labels
from app.training.data.report import digest_of_rows, dropped_rows
from app.training.data.scan import DataFiles, Scan, scan_held_out
from app.training.data.splits import assign
from app.training.failures import BadOption, Check
from app.training.prepare.dataset import Dataset, Rows, Stream
from app.training.prepare.encode import encode_numbers, encode_texts
from app.training.prepare.encode_generation import encode_completions, encode_documents, encode_whole_text
from app.wire.trainer import EvaluationSpec, TrainSpec
from app.wording import quantity


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The rows that a version is evaluated on.

    `files` is None for plain text. `chosen_N` is a mask over the usable rows that selects the rows on which the version
    is evaluated: those of the `split` or, if `split` is None, all rows. `labels` contains the version's labels,
    followed by the labels in the file that the version does not have. `dropped` is the part of a data report about rows
    that cannot be used.
    """

    dataset: Dataset
    files: DataFiles | None
    chosen_N: NDArray[np.bool_]
    labels: list[str]
    split: str | None
    sha256: str
    dropped: dict[str, Any] = field(default_factory=dict)
    hashes_N: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, np.uint64))  # of the chosen rows' inputs

    @property
    def data(self) -> Rows | Stream:
        """The encoded rows."""
        assert self.dataset.test is not None
        return self.dataset.test


def read(run: Path, spec: EvaluationSpec, base: BaseCheckpoint, staging: Path, check: Check) -> HeldOut:
    """Read and encode the evaluation file. All files are created in the folder `staging`.

    If the file assigns rows to splits, only the test rows are used or, if there are none, the validation rows.
    Otherwise, with `spec.validation_split`, only the rows that training would hold out are used. Raises BadData if the
    share of faulty rows exceeds `spec.skip_bad_rows`, or if the file does not fit the version's task. Raises BadOption
    if either option is set for plain text, or if no row can be held out.
    """
    task = base.config.task
    source = detect(run / spec.file.path, spec.file.filename, spec.file.format, "file", spec.encoding)
    files = open_files(source, None, spec.columns, task, check)
    check_input(files, base.config.input)
    if isinstance(files, TextFiles):
        for option, purpose in (("skip_bad_rows", "drop"), ("validation_split", "choose from")):
            if getattr(spec, option):
                raise BadOption(option, f"applies only to tables; plain text has no rows to {purpose}")
        dataset = encode_whole_text(source, base, staging)
        sha256 = dataset.facts.report["sha256"][SPLIT_NAMES[TEST]]
        return HeldOut(dataset, None, np.zeros(0, dtype=np.bool_), [], None, sha256)
    numeric = files.training.shape in NUMERIC
    scan = scan_held_out(files, staging, base.labels, spec.skip_bad_rows)
    if numeric and scan.steps_SF.shape[1] != base.config.features:
        raise source.fault(
            f"has {quantity(scan.steps_SF.shape[1], 'feature')} per step, "
            f"but the version expects {base.config.features}"
        )
    check_labels(source, scan.labels, base.labels)
    split, chosen_N = _choose(scan, spec.validation_split)
    sha256, hashes_N = digest_of_rows(scan, chosen_N), scan.hashes_N[chosen_N]
    labels = [*base.labels, *(label for label in scan.labels if label not in set(base.labels))]
    scan.splits_N = np.where(chosen_N, TEST, VALIDATION).astype(np.uint8)
    labelled = replace(base, labels=labels)
    train_spec = TrainSpec("base", spec.file, 0, task=task, columns=spec.columns)  # the encoders require a TrainSpec
    dataset = _encoder(files, task)(files, scan, train_spec, labelled, staging)
    return HeldOut(dataset, files, chosen_N, labels, split, sha256, dropped_rows(scan), hashes_N)


def _choose(scan: Scan, fraction: float) -> tuple[str | None, NDArray[np.bool_]]:
    """Choose the rows to evaluate on. Returns the split's name (None for all rows) and a mask of the rows.

    Without test and validation rows, `fraction` of the rows are drawn as in training, unless `fraction` is 0.
    """
    for code in (TEST, VALIDATION):
        mask = scan.splits_N == code
        if mask.any():
            return SPLIT_NAMES[code], mask
    if fraction:
        drawn_N = assign(scan.splits_N, scan.strata_N, scan.hashes_N, fraction, scan.strata) == VALIDATION
        if not drawn_N.any():
            raise BadOption("validation_split", "the file has too few distinct inputs to hold out rows")
        return SPLIT_NAMES[VALIDATION], drawn_N
    unmarked = np.isin(scan.splits_N, (UNASSIGNED, TRAIN))
    return None, unmarked


def _encoder(files: DataFiles, task: str) -> Callable[..., Dataset]:
    shape = files.training.shape
    if shape in NUMERIC:
        return encode_numbers
    if task != "generation":
        return encode_texts
    return encode_documents if shape == "text" else encode_completions
