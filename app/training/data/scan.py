"""Makes the first pass over the rows: checks each of them, settles the splits, and keeps what later passes need.

Numeric steps are written to disk in this pass, so they are not read a second time.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.training.data.example import TEST, TRAIN, VALIDATION, Example
from app.training.data.faults import Faults, OnFault, ignore
from app.training.data.layouts import Layout
from app.training.data.number_file import NumberFile
from app.training.data.rows import read_examples
from app.training.data.splits import assign
from app.training.failures import BadData


@dataclass(frozen=True, slots=True)
class DataFiles:
    """The training file and, if the request has one, the validation file.

    `check` is called for each row; it may raise to end a long pass early.
    """

    training: Layout
    validation: Layout | None = None
    check: Callable[[], None] = lambda: None

    @property
    def layouts(self) -> tuple[Layout, ...]:
        """The layouts of all files."""
        return (self.training,) if self.validation is None else (self.training, self.validation)

    def rows(self, on_fault: OnFault) -> Iterator[tuple[Layout, Example, int]]:
        """(layout of its file, example, split) of every row that can be read; `on_fault` gets the faults of the others.

        All rows of a validation file are validation rows, except for those that it marks as test rows.
        """
        for example in read_examples(self.training, on_fault):
            self.check()
            yield self.training, example, example.split
        if self.validation is None:
            return
        for example in read_examples(self.validation, on_fault):
            self.check()
            yield self.validation, example, TEST if example.split == TEST else VALIDATION

    def examples(self) -> Iterator[Example]:
        """Every usable row, in the order of `Scan`'s arrays."""
        return (example for _, example, _ in self.rows(ignore) if example.usable)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row is, for errors that can be raised only once all rows are read."""

    layout: Layout
    where: str

    def fault(self, key: str, message: str) -> BadData:
        """The error for the value of `key` in this row."""
        return self.layout.fault(self.where, key, message)

    def relative_to(self, layout: Layout) -> str:
        """The place as a message about the file of `layout` names it."""
        return self.where if self.layout is layout else f"{self.where} of {self.layout.source.filename}"


@dataclass(slots=True)
class Scan:
    """What the first pass keeps of the N usable rows, in their order.

    A stratum is a distinct set of labels; `strata_N` indexes `strata` and `places`.
    """

    splits_N: NDArray[np.uint8]
    strata_N: NDArray[np.int64]
    hashes_N: NDArray[np.uint64]  # of the inputs
    lengths_N: NDArray[np.int64]  # characters, or steps
    values_N: NDArray[np.float64]
    strata: list[tuple[str, ...]]
    places: list[Place]  # the first row of each stratum
    steps_SF: NDArray[np.float32]  # the steps of all numeric rows, one row after the other; (0, 0) for texts
    empty: int = 0  # rows without any input, which are left out
    dropped: Faults = field(default_factory=Faults)  # of the rows that cannot be used, which are left out
    has_validation_rows: bool = False  # in the files, before any row is held out

    @property
    def labels(self) -> list[str]:
        """All labels, sorted."""
        return sorted({label for stratum in self.strata for label in stratum})


@dataclass(slots=True)
class _Collector:
    """Builds a Scan row by row. Holds 33 bytes per row, whatever the length of its text."""

    steps_path: Path | None  # None: the steps are only checked, not kept
    splits: array[int] = field(default_factory=lambda: array("B"))
    strata: array[int] = field(default_factory=lambda: array("q"))
    hashes: array[int] = field(default_factory=lambda: array("Q"))
    lengths: array[int] = field(default_factory=lambda: array("q"))
    values: array[float] = field(default_factory=lambda: array("d"))
    numbers: dict[tuple[str, ...], int] = field(default_factory=dict)  # from a stratum to its index
    places: list[Place] = field(default_factory=list)
    steps: NumberFile | None = None
    width: int = 0  # features of a step
    empty: int = 0

    def add(self, layout: Layout, example: Example, split: int) -> None:
        if not example.usable:
            self.empty += 1
            return
        if example.features_TF is not None:
            self._add_steps(layout, example.where, example.features_TF)
        if example.labels not in self.numbers:
            self.numbers[example.labels] = len(self.places)
            self.places.append(Place(layout, example.where))
        self.splits.append(split)
        self.strata.append(self.numbers[example.labels])
        self.hashes.append(hash_input(example))
        self.values.append(example.value)
        features_TF = example.features_TF
        self.lengths.append(sum(map(len, example.texts)) if features_TF is None else len(features_TF))

    def _add_steps(self, layout: Layout, where: str, steps_TF: NDArray[np.float32]) -> None:
        if not self.width:
            self.width = steps_TF.shape[1]
            if self.steps_path is not None:
                self.steps = NumberFile(self.steps_path, np.float32, self.width)
        if steps_TF.shape[1] != self.width:
            first = self.places[0].relative_to(layout)
            reason = f"steps of {steps_TF.shape[1]} numbers, but those of {first} have {self.width}"
            raise layout.fault(where, "features", f"{reason}; all rows need the same number")
        if self.steps is not None:
            self.steps.append(steps_TF)

    def to_scan(self) -> Scan:
        return Scan(
            np.asarray(self.splits, dtype=np.uint8),
            np.asarray(self.strata, dtype=np.int64),
            np.asarray(self.hashes, dtype=np.uint64),
            np.asarray(self.lengths, dtype=np.int64),
            np.asarray(self.values, dtype=np.float64),
            list(self.numbers),
            self.places,
            np.zeros((0, 0), np.float32) if self.steps is None else self.steps.close(),
            self.empty,
        )


def scan_files(files: DataFiles, fraction: float, staging: Path | None, skip_bad_rows: float = 0.0) -> Scan:
    """Read and check all rows, and settle their splits.

    Where the data has no validation rows, about `fraction` of the train rows become validation rows. Numeric steps are
    written to a file in the folder `staging`, if there is one. Raises BadData for data that nothing can be learned
    from, and one for all faults together if more than the share `skip_bad_rows` of the rows cannot be used.
    """
    scan = _collect(files, staging, skip_bad_rows)
    scan.has_validation_rows = bool((scan.splits_N == VALIDATION).any())
    scan.splits_N = assign(scan.splits_N, scan.strata_N, scan.hashes_N, fraction, scan.strata)
    _check(files.training, scan)
    return scan


def _collect(files: DataFiles, staging: Path | None, skip_bad_rows: float) -> Scan:
    collector = _Collector(None if staging is None else staging / "steps.bin")
    faults = Faults()

    def on_fault(error: BadData) -> None:
        files.check()
        faults.add(error)

    try:
        for layout, example, split in files.rows(on_fault):
            try:
                collector.add(layout, example, split)
            except BadData as error:
                faults.add(error)
    except BadData as error:  # no row after this one can be read
        faults.add(error)
        raise faults.failure(len(collector.splits) + collector.empty + faults.rows) from None
    total = len(collector.splits) + collector.empty + faults.rows
    if faults.rows > skip_bad_rows * total:
        raise faults.failure(total)
    if not collector.places:
        raise files.training.source.fault("has no rows that can be used")
    scan = collector.to_scan()
    scan.dropped = faults
    return scan


def hash_input(example: Example) -> int:
    """A 64-bit hash of the input: rows with equal inputs have equal hashes, whatever their targets."""
    state = hashlib.blake2b(digest_size=8)
    if example.features_TF is not None:
        state.update(example.features_TF.tobytes())
    texts = example.texts
    for text in (*texts, *[""] * (3 - len(texts))):
        state.update(text.encode("utf-8", "surrogatepass") + b"\x00")
    return int.from_bytes(state.digest(), "big")


def _check(layout: Layout, scan: Scan) -> None:
    train_N = scan.splits_N == TRAIN
    if not train_N.any():
        raise layout.source.fault("has no rows to train on: the split column holds out all of them")
    if train_N.all():
        raise layout.source.fault(
            f"has {len(train_N)} usable row(s), too few different ones to hold any out for validation"
        )
    if layout.task in ("classification", "multilabel"):
        _check_labels(layout, scan, train_N)
    values_N = scan.values_N[train_N]
    # The deviation is checked as well: it is what values are divided by, and tiny differences may round it to 0.
    if layout.task == "regression" and (np.ptp(values_N) == 0 or values_N.std() == 0):
        reason = f"every row to train on has the value {values_N[0]:g}, so there is nothing to learn"
        raise scan.places[0].fault("value", reason)


def _check_labels(layout: Layout, scan: Scan, train_N: NDArray[np.bool_]) -> None:
    train_strata = [int(stratum) for stratum in np.unique(scan.strata_N[train_N])]
    train_labels = {label for stratum in train_strata for label in scan.strata[stratum]}
    for stratum, place in zip(scan.strata, scan.places, strict=True):
        unlearned = sorted(set(stratum) - train_labels)
        if unlearned:
            reason = f"the label {unlearned[0]!r} is held out, but no row to train on has it"
            raise place.fault("label", f"{reason}; add it to rows of the train split, or remove it")
    place = scan.places[train_strata[0]]
    if layout.task == "classification" and len(train_labels) < 2:
        reason = f"every row to train on has the label {next(iter(train_labels))!r}"
        raise place.fault("label", f"{reason}; a classifier needs two or more labels")
    if not train_labels:
        raise place.fault("label", "no row to train on has a label")
