"""What is to be learned of each row, as numbers: the order of the labels, the scale of the values.

A version that is fine-tuned keeps its head where it can: then its order and its scale are kept too. Knows labels and
values; knows no input.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.training.base import BaseCheckpoint
from app.training.data.columns import NAMES, TRAIN
from app.training.data.number_file import NumberFile
from app.training.data.scan import Scan
from app.training.prepare.dataset import file_of

_AT_ONCE = 1 << 16  # rows


@dataclass(frozen=True, slots=True)
class Targets:
    """`scale`: mean and std of a regression's values, None for values as they are. `label_counts`: of train rows."""

    labels: list[str]
    label_counts: list[int]
    scale: dict[str, float] | None
    arrays: dict[int, NDArray[Any]]  # by split


def targets(task: str, found: Scan, base: BaseCheckpoint | None, aside: Path) -> Targets:
    """Made on disk, in `aside`."""
    names = _labels(task, found, base)
    scale = _scale(found, base) if task == "regression" else None
    arrays = {}
    for code, part in NAMES.items():
        rows_N = np.flatnonzero(found.splits_N == code)
        file = _file(task, file_of(aside, part, "targets_N"), len(names))
        for start in range(0, len(rows_N), _AT_ONCE):
            file.append(_encoded(task, found, names, scale, rows_N[start : start + _AT_ONCE]))
        arrays[code] = file.close()
    return Targets(names, list(_counts(found, names)), scale, arrays)


def _labels(task: str, found: Scan, base: BaseCheckpoint | None) -> list[str]:
    """The order of the head's outputs: the base version's where it knows all of them, else by name."""
    if task not in ("classification", "multilabel"):
        return []
    if base is not None and base.config.task == task and set(found.labels) <= set(base.labels):
        return list(base.labels)
    return found.labels


def _scale(found: Scan, base: BaseCheckpoint | None) -> dict[str, float] | None:
    if base is not None and base.config.task == "regression":
        return base.target
    values = found.values_N[found.splits_N == TRAIN]
    return {"mean": float(values.mean()), "std": float(values.std())}


def _counts(found: Scan, labels: list[str]) -> Iterator[int]:
    per_stratum = np.bincount(found.strata_N[found.splits_N == TRAIN], minlength=len(found.strata))
    counts = dict.fromkeys(labels, 0)
    for number, stratum in zip(per_stratum, found.strata, strict=True):
        for label in stratum:
            counts[label] += int(number)
    yield from counts.values()


def _file(task: str, path: Path, classes: int) -> NumberFile:
    if task == "multilabel":
        return NumberFile(path, np.uint8, classes)
    return NumberFile(path, np.float32 if task == "regression" else np.int64)


def _encoded(
    task: str, found: Scan, labels: list[str], scale: dict[str, float] | None, rows_N: NDArray[np.int64]
) -> NDArray[Any]:
    if task == "regression":
        values_N = found.values_N[rows_N]
        return values_N if scale is None else (values_N - scale["mean"]) / scale["std"]
    index = {label: i for i, label in enumerate(labels)}
    strata_N = found.strata_N[rows_N]
    if task == "classification":
        return np.asarray([index[stratum[0]] for stratum in found.strata], dtype=np.int64)[strata_N]
    table_NC = np.zeros((len(rows_N), len(labels)), dtype=np.uint8)
    for row, stratum in enumerate(strata_N):
        table_NC[row, [index[label] for label in found.strata[stratum]]] = 1
    return table_NC
