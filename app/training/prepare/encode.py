"""Checked rows as numbers, with a target each: texts as tokens, numbers standardised.

What is learned from the data (tokenizer, means, spreads) is learned from train rows alone; where a version is
fine-tuned, its own are taken, for its weights know no others. Data to continue is `encode_generation.py`'s business.
Knows tokens and steps; knows no network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.training.base import BaseCheckpoint
from app.training.data.columns import NAMES, TRAIN
from app.training.data.number_file import NumberFile
from app.training.data.scan import DataFiles, Scan
from app.training.prepare import report
from app.training.prepare.dataset import TOKENIZER, Dataset, Facts, Rows, file_of
from app.training.prepare.gathering import GatheredRows
from app.training.prepare.targets import Targets, targets
from app.training.prepare.tokenizing import batches, row_tokenizer, takes
from app.wire.trainer import TrainSpec

Encoder = Callable[[DataFiles, Scan, TrainSpec, BaseCheckpoint | None, Path], Dataset]
Scaling = dict[str, list[float]]
_ROWS = 256  # of numbers, at once
_ROUNDED, _SMALLEST = float(np.finfo(np.float32).eps), float(np.finfo(np.float32).tiny)


def texts(files: DataFiles, found: Scan, spec: TrainSpec, base: BaseCheckpoint | None, aside: Path) -> Dataset:
    """Texts or pairs with a target each."""
    task = files.training.task
    tokenizer = row_tokenizer(files, found, spec, base)
    nothing = [tokenizer.blank_id or 0]
    gathered = {code: GatheredRows(aside, part) for code, part in NAMES.items()}
    for batch in batches(files, found):
        singles = tokenizer.encode_batch([example.text for example, _ in batch])
        for (example, split), ids in zip(batch, singles, strict=True):
            pair = example.pair
            gathered[split].add((ids if pair is None else tokenizer.encode_pair(example.text, pair)) or nothing)
    learned = targets(task, found, base, aside)
    parts = {code: rows.rows(learned.arrays[code]) for code, rows in gathered.items()}
    tokenizer.save(aside / TOKENIZER)
    facts = _facts(
        task,
        "tokens",
        learned,
        vocab_size=tokenizer.vocab_size,
        tokenizer=tokenizer.kind,
        blank=tokenizer.blank_id,
        specials=tokenizer.special_ids,
        report=_lengths(parts, "tokens"),
    )
    return prepared(facts, parts, aside)


def numbers(files: DataFiles, found: Scan, spec: TrainSpec, base: BaseCheckpoint | None, aside: Path) -> Dataset:
    """Numeric sequences with a target each."""
    task, source, width = files.training.task, files.training.source, found.steps_SF.shape[1]
    if base is not None and (base.config.input != "features" or base.config.features != width):
        raise source.fault(f"has {width} features a step, and the version to fine-tune takes {takes(base)}")
    scaling = _normalization(found) if base is None else base.normalization
    mean_F, std_F = (np.asarray(scaling[key], np.float32) if scaling else None for key in ("mean", "std"))
    flats = {code: NumberFile(file_of(aside, part, "flat"), np.float32, width) for code, part in NAMES.items()}
    for steps_SF, codes_S in _blocks(found):
        scaled_SF = steps_SF if mean_F is None or std_F is None else (steps_SF - mean_F) / std_F
        for code in NAMES:
            flats[code].append(scaled_SF[codes_S == code])
    learned = targets(task, found, base, aside)
    parts = {}
    for code in NAMES:
        ends_N1 = np.concatenate([[0], np.cumsum(found.lengths_N[found.splits_N == code])]).astype(np.int64)
        parts[code] = Rows(flats[code].close(), ends_N1, learned.arrays[code])
    told = _lengths(parts, "steps")
    return prepared(_facts(task, "features", learned, features=width, normalization=scaling, report=told), parts, aside)


def prepared(facts: Facts, parts: dict[int, Any], aside: Path) -> Dataset:
    """Put together; test data without a row is none."""
    train, validation, test = (parts.get(code) for code in NAMES)
    assert train is not None and validation is not None
    size = 0 if test is None else len(test) if isinstance(test, Rows) else len(test.ids_T) - test.context
    tokenizer = aside / TOKENIZER
    return Dataset(facts, train, validation, test if size else None, tokenizer if tokenizer.exists() else None)


def _facts(task: str, kind: str, learned: Targets, **more: Any) -> Facts:
    return Facts(
        task, kind, "rows", labels=learned.labels, label_counts=learned.label_counts, target=learned.scale, **more
    )


def _lengths(parts: dict[int, Rows], unit: str) -> dict[str, Any]:
    found = {NAMES[code]: report.lengths_of(rows) for code, rows in parts.items() if len(rows)}
    return {"length_histogram": report.histogram(found, unit)}


def _blocks(found: Scan) -> Iterator[tuple[NDArray[np.float32], NDArray[np.uint8]]]:
    """All steps, some rows at a time, each with its split."""
    ends_N1 = np.concatenate([[0], np.cumsum(found.lengths_N)])
    for start in range(0, len(found.lengths_N), _ROWS):
        rows = slice(start, start + _ROWS)
        end = min(start + _ROWS, len(found.lengths_N))
        yield found.steps_SF[ends_N1[start] : ends_N1[end]], np.repeat(found.splits_N[rows], found.lengths_N[rows])


def _normalization(found: Scan) -> Scaling:
    """Mean and deviation of the train steps, in two passes.

    A feature that never changes keeps its scale: dividing by its spread of 0 would be no number. What float32 rounds
    of a number is no change, however large or small the number is.
    """
    count, width = 0, found.steps_SF.shape[1]
    sum_F, squares_F = np.zeros(width), np.zeros(width)
    for steps_SF, codes_S in _blocks(found):
        sum_F += steps_SF[codes_S == TRAIN].sum(0, dtype=np.float64)
        count += int((codes_S == TRAIN).sum())
    mean_F = sum_F / count
    for steps_SF, codes_S in _blocks(found):
        squares_F += ((steps_SF[codes_S == TRAIN] - mean_F) ** 2).sum(0)
    std_F = np.sqrt(squares_F / count)
    steady_F = std_F <= _ROUNDED * np.abs(mean_F)
    return {"mean": mean_F.tolist(), "std": np.where(steady_F | (std_F < _SMALLEST), 1.0, std_F).tolist()}
