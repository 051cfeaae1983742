"""The first pass over the rows: checks each row, determines labels and splits, and stores data for later passes.

This pass also writes numeric steps to disk, so that they are parsed only once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.training.data.cells import is_amount
from app.training.data.collector import Collector, Place
from app.training.data.example import TEST, TRAIN, VALIDATION, Example
from app.training.data.faults import Faults, OnFault, ignore
from app.training.data.feature_outliers import FeatureExtremes
from app.training.data.label_cells import settle_cells
from app.training.data.label_column import LabelColumn
from app.training.data.label_lists import settle_lists
from app.training.data.label_names import in_order, settle_names
from app.training.data.layouts import Layout
from app.training.data.notes import PLAIN_FEATURES, SPLIT_OVERRULED
from app.training.data.outliers import Extremes
from app.training.data.plain_lists import PlainLists
from app.training.data.rows import read_examples
from app.training.data.splits import assign
from app.training.data.target_copies import TargetCopies
from app.training.failures import BadData
from app.wording import quantity


@dataclass(frozen=True, slots=True)
class DataFiles:
    """The training file and, if the request names one, the validation file.

    `check` is called for each row, and may raise an exception to end a long pass early.
    """

    training: Layout
    validation: Layout | None = None
    check: Callable[[], None] = lambda: None

    @property
    def layouts(self) -> tuple[Layout, ...]:
        """The layouts of all files."""
        return (self.training,) if self.validation is None else (self.training, self.validation)

    def rows(self, on_fault: OnFault) -> Iterator[tuple[Layout, Example, int]]:
        """For every readable row, yield the layout of its file, its example and its split. Calls `on_fault` for every
        other row.

        All rows of a validation file are validation rows, unless they are marked as test rows.
        """
        for example in read_examples(self.training, on_fault):
            self.check()
            yield self.training, example, example.split
        if self.validation is None:
            return
        for example in read_examples(self.validation, on_fault):
            self.check()
            if example.split == TRAIN:
                example = replace(example, notes=(*example.notes, SPLIT_OVERRULED))
            yield self.validation, example, TEST if example.split == TEST else VALIDATION

    def examples(self) -> Iterator[Example]:
        """Yield every usable row, in the order of the arrays in `Scan`."""
        width = 0  # the number of features of a step in the first row; `Collector` rejects the rows with another number
        for _, example, _ in self.rows(ignore):
            features_TF = example.features_TF
            if example.usable and features_TF is not None:
                width = width or features_TF.shape[1]
            if example.usable and (features_TF is None or features_TF.shape[1] == width):
                yield example


@dataclass(slots=True)
class Scan:
    """The data that the first pass stores for the N usable rows, in row order.

    A stratum is a distinct set of labels; `strata_N` indexes `strata` and `places`.
    """

    task: str  # the task in the request or, if it names none, the inferred one
    splits_N: NDArray[np.uint8]
    strata_N: NDArray[np.int64]
    hashes_N: NDArray[np.uint64]  # hashes of the inputs
    lengths_N: NDArray[np.int64]  # in characters, or in steps for numeric sequences
    unspaced_N: NDArray[np.uint32]  # the number of characters in scripts without spaces between words
    values_N: NDArray[np.float64]
    strata: list[tuple[str, ...]]
    places: list[Place]  # for each stratum, the first row that belongs to it
    steps_SF: NDArray[np.float64]  # the concatenated steps of all numeric rows; of shape (0, 0) for text data
    empty: int = 0  # the number of rows without any input, which are left out
    dropped: Faults = field(default_factory=Faults)  # the faults of rows that are left out
    lost_precision: list[str] = field(default_factory=list)  # a sentence for each feature that loses precision
    has_validation_rows: bool = False  # whether the files themselves mark validation rows

    @property
    def labels(self) -> list[str]:
        """All distinct labels, in the order of `in_order`."""
        return in_order({label for stratum in self.strata for label in stratum})


def scan_files(
    files: DataFiles,
    fraction: float,
    staging: Path | None,
    skip_bad_rows: float = 0.0,
    base_labels: Collection[str] = (),
) -> Scan:
    """Read and check all rows, and determine their labels and splits.

    If the data has no validation rows, about `fraction` of the training rows become validation rows. Numeric steps are
    written to a file in the folder `staging`, unless `staging` is None. `base_labels` are the labels of the version to
    fine-tune. Raises BadData if nothing can be learned from the data. If the share of faulty rows exceeds
    `skip_bad_rows`, raises a single error for all of them.
    """
    scan = _collect(files, staging, skip_bad_rows, base_labels)
    scan.has_validation_rows = bool((scan.splits_N == VALIDATION).any())
    scan.splits_N = assign(scan.splits_N, scan.strata_N, scan.hashes_N, fraction, scan.strata)
    _check(files.training, scan)
    return scan


def scan_held_out(
    files: DataFiles, staging: Path | None, base_labels: Collection[str], skip_bad_rows: float = 0.0
) -> Scan:
    """Read and check all rows of an evaluation file. Rows without a split stay unassigned.

    `base_labels` are the labels of the version. Numeric steps are written to a file in the folder `staging`, unless
    `staging` is None. Raises BadData if the share of faulty rows exceeds `skip_bad_rows`, or if no row can be used.
    """
    return _collect(files, staging, skip_bad_rows, base_labels)


@dataclass(slots=True)
class _Numbers:
    """Statistics of the features of numeric inputs."""

    extremes: FeatureExtremes = field(default_factory=FeatureExtremes)
    plain_lists: PlainLists = field(default_factory=PlainLists)
    copies: TargetCopies = field(default_factory=TargetCopies)

    def add(self, layout: Layout, example: Example) -> None:
        """Take a row into account. Rows without features are skipped."""
        if example.features_TF is None:
            return
        self.extremes.add(example.features_TF, Place(layout, example.where))
        self.copies.add(example.features_TF, example, layout.task)
        if PLAIN_FEATURES in example.notes:
            self.plain_lists.add(example.features_TF, Place(layout, example.where))

    def remark(self, layout: Layout) -> None:
        """Add remarks about the features of the training file."""
        self.extremes.remark(layout.steps)
        self.plain_lists.remark()
        self.copies.remark(layout)


def _collect(files: DataFiles, staging: Path | None, skip_bad_rows: float, base_labels: Collection[str]) -> Scan:
    collector = Collector(None if staging is None else staging / "steps.bin")
    faults, extremes = Faults(of_series=files.training.shape == "series"), Extremes()
    numbers = _Numbers()

    def on_fault(error: BadData) -> None:
        files.check()
        faults.add(error)

    try:
        for layout, example, split in files.rows(on_fault):
            try:
                collector.add(layout, example, split)
                if example.usable and layout.task == "regression":
                    extremes.add(example.value, Place(layout, example.where))
                numbers.add(layout, example)
            except BadData as error:
                faults.add(error)
    except BadData as error:  # no later row can be read
        faults.add(error)
        raise faults.failure(collector.rows + faults.rows, skippable=False) from None
    faults.check(collector.rows + faults.rows, skip_bad_rows)
    collector.remark()
    extremes.remark(collector.values)
    numbers.remark(files.training)
    if not collector.places:
        reasons = "; ".join(collector.reasons())
        raise files.training.source.fault("has no usable rows" + (f": {reasons}" if reasons else ""))
    scan = _to_scan(files.training, collector, base_labels)
    scan.dropped, scan.lost_precision = faults, collector.lost_precision(files.training.steps)
    return scan


def _to_scan(layout: Layout, collector: Collector, base_labels: Collection[str]) -> Scan:
    strata_N = np.asarray(collector.strata, dtype=np.int64)
    column = LabelColumn(
        layout.task,
        layout.task_inferred,
        [labels for labels, _, _ in collector.numbers],
        [listed for _, listed, _ in collector.numbers],
        [typed for _, _, typed in collector.numbers],
        np.bincount(strata_N, minlength=len(collector.numbers)).tolist(),
        collector.places,
        frozenset(base_labels),
    )
    if layout.task in ("classification", "multilabel"):
        settle_cells(column)
        settle_lists(column)
        settle_names(column)
    # Cells with the same labels become one stratum. The place of a stratum is the place of its first cell.
    numbers: dict[tuple[str, ...], int] = {}
    index = np.asarray([numbers.setdefault(labels, len(numbers)) for labels in column.cells], dtype=np.int64)
    places = {labels: place for labels, place in zip(reversed(column.cells), reversed(column.places), strict=True)}
    return Scan(
        column.task,
        np.asarray(collector.splits, dtype=np.uint8),
        index[strata_N],
        np.asarray(collector.hashes, dtype=np.uint64),
        np.asarray(collector.lengths, dtype=np.int64),
        np.asarray(collector.unspaced, dtype=np.uint32),
        np.asarray(collector.values, dtype=np.float64),
        list(numbers),
        [places[labels] for labels in numbers],
        np.zeros((0, 0), np.float64) if collector.steps is None else collector.steps.close(),
        collector.empty,
    )


def _check(layout: Layout, scan: Scan) -> None:
    train_N = scan.splits_N == TRAIN
    if not train_N.any():
        raise layout.source.fault("has no training rows, because the split column holds out all rows")
    if train_N.all():
        raise layout.source.fault(f"has {quantity(len(train_N), 'usable row')}, but {_undrawable(scan)}")
    if scan.task in ("classification", "multilabel"):
        _check_labels(scan, train_N)
    values_N = scan.values_N[train_N]
    # The standard deviation is checked as well, because values are divided by it, and it may be rounded to 0 if the
    # values differ very little.
    if scan.task == "regression" and (np.ptp(values_N) == 0 or values_N.std() == 0):
        reason = f"every training row has the value {values_N[0]:g}, so there is nothing to learn"
        raise scan.places[0].fault("value", reason)


def _undrawable(scan: Scan) -> str:
    """Return the reason why no rows can be held out for validation, and what to do."""
    _, inputs = np.unique(np.stack([scan.strata_N.astype(np.uint64), scan.hashes_N]), axis=1, return_counts=True)
    if scan.task == "classification" and len(inputs) == len(scan.strata) > 1:
        rows = "row" if inputs.max() == 1 else "distinct input"
        if all(map(is_amount, scan.labels)):
            return (
                f"each of its {len(scan.labels):,} labels, which are numbers such as {scan.labels[0]!r}, has only one "
                f"{rows}; to predict the number, set columns.value to the name of the column instead of columns.label"
            )
        return (
            f"each of its {len(scan.strata):,} labels has only one {rows}, so none can be held out for validation: a "
            f"label needs at least two {rows}s to train and to validate. Add rows, use fewer labels (is this the label "
            "column?), or provide a validation file"
        )
    return "too few distinct inputs to hold out validation rows; add rows, or provide a validation file"


def _check_labels(scan: Scan, train_N: NDArray[np.bool_]) -> None:
    train_strata = [int(stratum) for stratum in np.unique(scan.strata_N[train_N])]
    train_labels = {label for stratum in train_strata for label in scan.strata[stratum]}
    for stratum, place in zip(scan.strata, scan.places, strict=True):
        unlearned = sorted(set(stratum) - train_labels)
        if unlearned:
            reason = f"held-out rows have the label {unlearned[0]!r}, but no training row has it"
            raise place.fault(
                "label", f"{reason}; add training rows with this label, or remove the held-out rows with it"
            )
    place = scan.places[train_strata[0]]
    if scan.task == "classification" and len(train_labels) < 2:
        reason = f"every training row has the label {next(iter(train_labels))!r}"
        raise place.fault("label", f"{reason}; a classifier needs at least two labels")
    if not train_labels:
        raise place.fault("label", "no training row has a label")
