"""The first pass over the rows: every one is read and checked, and what the later choices need is kept as numbers.

Numeric steps are numbers already: they go to disk here, and need no second reading. Knows examples and their labels;
knows no tokens.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.training.data.columns import TEST, TRAIN, VALIDATION, Example, Layout
from app.training.data.number_file import NumberFile
from app.training.data.splits import assign
from app.training.failures import BadData


@dataclass(frozen=True, slots=True)
class DataFiles:
    """The training file's rows, and those of a validation file of its own; `check` is called before each, and may
    raise to end a long reading."""

    training: Layout
    validation: Layout | None = None
    check: Callable[[], None] = lambda: None

    def everything(self) -> Iterator[tuple[Layout, Example, int]]:
        """All rows, each with its split; a validation file's rows are validation, but for its test rows."""
        for example in self.training.examples():
            self.check()
            yield self.training, example, example.split
        for example in self.validation.examples() if self.validation else ():
            assert self.validation is not None
            self.check()
            yield self.validation, example, TEST if example.split == TEST else VALIDATION

    def examples(self) -> Iterator[Example]:
        """The rows that say something."""
        return (example for _, example, _ in self.everything() if example.usable)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row stands, for complaints that can be made only when all rows are known."""

    layout: Layout
    where: str

    def fault(self, key: str, message: str) -> BadData:
        return self.layout.fail(self.where, key, message)

    def seen_from(self, other: Layout) -> str:
        return self.where if self.layout is other else f"{self.where} of {self.layout.source.filename}"


@dataclass(slots=True)
class Scan:
    """What is known of the rows, in their order. `strata_N` numbers the sets of labels in `strata`."""

    splits_N: NDArray[np.uint8]
    strata_N: NDArray[np.int64]
    hashes_N: NDArray[np.uint64]
    lengths_N: NDArray[np.int64]  # characters, or steps
    values_N: NDArray[np.float64]
    strata: list[tuple[str, ...]]
    places: list[Place]  # where each stratum is met first
    steps_SF: NDArray[np.float32]  # all steps of numeric rows, end to end; else nothing
    empty: int = 0  # rows without anything to learn from, which are left out
    given: bool = False  # whether the data says itself which rows are for validation

    @property
    def labels(self) -> list[str]:
        return sorted({label for stratum in self.strata for label in stratum})


@dataclass(slots=True)
class _Gathered:
    """The rows as they come."""

    steps_path: Path
    splits: array[int] = field(default_factory=lambda: array("B"))
    strata: array[int] = field(default_factory=lambda: array("q"))
    hashes: array[int] = field(default_factory=lambda: array("Q"))
    lengths: array[int] = field(default_factory=lambda: array("q"))
    values: array[float] = field(default_factory=lambda: array("d"))
    numbers: dict[tuple[str, ...], int] = field(default_factory=dict)
    places: list[Place] = field(default_factory=list)
    steps: NumberFile | None = None
    width: int = 0
    empty: int = 0

    def add(self, layout: Layout, example: Example, split: int) -> None:
        if not example.usable:
            self.empty += 1
            return
        if example.labels not in self.numbers:
            self.numbers[example.labels] = len(self.places)
            self.places.append(Place(layout, example.where))
        self.splits.append(split)
        self.strata.append(self.numbers[example.labels])
        self.hashes.append(digest(example))
        self.values.append(example.value)
        if example.features_TF is None:
            self.lengths.append(sum(map(len, example.texts)))
        else:
            self.lengths.append(len(example.features_TF))
            self._add_steps(layout, example.where, example.features_TF)

    def _add_steps(self, layout: Layout, where: str, steps_TF: NDArray[np.float32]) -> None:
        if self.steps is None:
            self.width = steps_TF.shape[1]
            self.steps = NumberFile(self.steps_path, np.float32, self.width)
        if steps_TF.shape[1] != self.width:
            first = self.places[0].seen_from(layout)
            said = f"steps of {steps_TF.shape[1]} numbers, but those of {first} have {self.width}"
            raise layout.fail(where, "features", f"{said}; all rows need as many")
        self.steps.append(steps_TF)

    def scan(self) -> Scan:
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


def scan(files: DataFiles, fraction: float, aside: Path) -> Scan:
    """Read everything, and settle the splits. `aside`: a folder for numeric steps."""
    gathered = _Gathered(aside / "steps.bin")
    for layout, example, split in files.everything():
        gathered.add(layout, example, split)
    if not gathered.places:
        raise files.training.source.fault("has no rows that can be used")
    found = gathered.scan()
    found.given = bool((found.splits_N == VALIDATION).any())
    found.splits_N = assign(found.splits_N, found.strata_N, found.hashes_N, fraction, found.strata)
    _check(files.training, found)
    return found


def digest(example: Example) -> int:
    """64 bits of what is learned from: equal inputs have equal digests, whatever their labels."""
    state = hashlib.blake2b(digest_size=8)
    if example.features_TF is not None:
        state.update(example.features_TF.tobytes())
    texts = example.texts
    for text in (*texts, *[""] * (3 - len(texts))):
        state.update(text.encode("utf-8", "surrogatepass") + b"\x00")
    return int.from_bytes(state.digest(), "big")


def _check(layout: Layout, found: Scan) -> None:
    train_N = found.splits_N == TRAIN
    if not train_N.any():
        raise layout.source.fault("has no rows to train on: all are held out by the split column")
    if train_N.all():
        raise layout.source.fault(
            f"has {len(train_N)} usable row(s), too few different ones to hold any out for validation"
        )
    if layout.task in ("classification", "multilabel"):
        _check_labels(layout, found, train_N)
    values_N = found.values_N[train_N]
    if layout.task == "regression" and (np.ptp(values_N) == 0 or values_N.std() == 0):
        said = f"every row to train on has the value {values_N[0]:g}, so there is nothing to learn"
        raise found.places[0].fault("value", said)


def _check_labels(layout: Layout, found: Scan, train_N: NDArray[np.bool_]) -> None:
    trained = [int(stratum) for stratum in np.unique(found.strata_N[train_N])]
    known = {label for stratum in trained for label in found.strata[stratum]}
    for stratum, place in zip(found.strata, found.places, strict=True):
        unknown = sorted(set(stratum) - known)
        if unknown:
            said = f"the label {unknown[0]!r} is held out but no row to train on has it"
            raise place.fault("label", f"{said}; give it rows in train, or leave it out")
    place = found.places[trained[0]]
    if layout.task == "classification" and len(known) < 2:
        said = f"every row to train on has the label {next(iter(known))!r}; a classifier needs two or more labels"
        raise place.fault("label", said)
    if not known:
        raise place.fault("label", "no row to train on has a label")
