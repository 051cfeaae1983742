"""Encodes targets as numbers: labels become indices, and values are standardised.

If possible, fine-tuning keeps the base version's head, and therefore also the order of its labels or the scale of its
values.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.training.base import BaseCheckpoint
from app.training.data.example import SPLIT_NAMES, TRAIN
from app.training.data.number_file import NumberFile
from app.training.data.scan import Scan
from app.training.prepare.dataset import array_path

_BLOCK = 1 << 16  # the number of rows to encode at once


@dataclass(frozen=True, slots=True)
class Targets:
    """The encoded targets of all splits.

    `label_counts` contains the number of training rows with each label. For regression, `scale` contains the `mean` and
    `std` of the values; it is None if the values are not scaled.
    """

    labels: list[str]
    label_counts: list[int]
    scale: dict[str, float] | None
    arrays: dict[int, NDArray[Any]]  # keyed by split code


def encode_targets(task: str, scan: Scan, base: BaseCheckpoint | None, staging: Path) -> Targets:
    """Encode the targets of all rows, and store them in files in the folder `staging`."""
    names = _labels(task, scan, base)
    scale = _scale(scan, base) if task == "regression" else None
    arrays = {}
    for code, part in SPLIT_NAMES.items():
        rows_N = np.flatnonzero(scan.splits_N == code)
        file = _file(task, array_path(staging, part, "targets_N"), len(names))
        for start in range(0, len(rows_N), _BLOCK):
            file.append(_encoded(task, scan, names, scale, rows_N[start : start + _BLOCK]))
        arrays[code] = file.close()
    return Targets(names, _counts(scan, names), scale, arrays)


def _labels(task: str, scan: Scan, base: BaseCheckpoint | None) -> list[str]:
    """Return the labels in the order of the head's outputs.

    The labels are those of the base version if they include all labels in the data; otherwise, they are the sorted
    labels in the data.
    """
    if task not in ("classification", "multilabel"):
        return []
    if base is not None and base.config.task == task and set(scan.labels) <= set(base.labels):
        return list(base.labels)
    return scan.labels


def _scale(scan: Scan, base: BaseCheckpoint | None) -> dict[str, float] | None:
    if base is not None and base.config.task == "regression":
        return base.target
    values = scan.values_N[scan.splits_N == TRAIN]
    return {"mean": float(values.mean()), "std": float(values.std())}


def _counts(scan: Scan, labels: list[str]) -> list[int]:
    """Count the training rows with each label, in the order of `labels`."""
    per_stratum = np.bincount(scan.strata_N[scan.splits_N == TRAIN], minlength=len(scan.strata))
    counts = dict.fromkeys(labels, 0)
    for number, stratum in zip(per_stratum, scan.strata, strict=True):
        for label in stratum:
            counts[label] += int(number)
    return list(counts.values())


def _file(task: str, path: Path, classes: int) -> NumberFile:
    if task == "multilabel":
        return NumberFile(path, np.uint8, classes)
    return NumberFile(path, np.float32 if task == "regression" else np.int64)


def _encoded(
    task: str, scan: Scan, labels: list[str], scale: dict[str, float] | None, rows_N: NDArray[np.int64]
) -> NDArray[Any]:
    if task == "regression":
        values_N = scan.values_N[rows_N]
        return values_N if scale is None else (values_N - scale["mean"]) / scale["std"]
    index = {label: i for i, label in enumerate(labels)}
    strata_N = scan.strata_N[rows_N]
    if task == "classification":
        return np.asarray([index[stratum[0]] for stratum in scan.strata], dtype=np.int64)[strata_N]
    table_NC = np.zeros((len(rows_N), len(labels)), dtype=np.uint8)
    for row, stratum in enumerate(strata_N):
        table_NC[row, [index[label] for label in scan.strata[stratum]]] = 1
    return table_NC
