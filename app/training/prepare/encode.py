"""Encodes rows with targets: texts become tokens, and numeric sequences are standardised.

The tokenizer, means and standard deviations are computed from training rows only. Fine-tuning uses the base version's
tokenizer, means and standard deviations, because its weights were trained with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.training.base import BaseCheckpoint
from app.training.data.example import SPLIT_NAMES
from app.training.data.notes import NotedRows
from app.training.data.number_file import NumberFile
from app.training.data.precision import Precision
from app.training.data.scan import DataFiles, Scan
from app.training.prepare import normalization, report
from app.training.prepare.dataset import TOKENIZER, Dataset, Facts, Rows, array_path
from app.training.prepare.gathering import GatheredRows
from app.training.prepare.targets import Targets, encode_targets
from app.training.prepare.tokenizing import describe_input, iterate_batches, tokenizer_for_rows
from app.wire.trainer import TrainSpec
from app.wording import quantity

Encoder = Callable[[DataFiles, Scan, TrainSpec, BaseCheckpoint | None, Path], Dataset]
_BLOCK_ROWS = 256  # the number of numeric rows to read at once


def encode_texts(files: DataFiles, scan: Scan, spec: TrainSpec, base: BaseCheckpoint | None, staging: Path) -> Dataset:
    """Encode texts, or pairs of texts, each with a target."""
    task = scan.task
    tokenizer = tokenizer_for_rows(files, scan, spec, base)
    placeholder = [tokenizer.blank_id or 0]  # replaces a text without tokens, since a network needs at least one token
    gathered = {code: GatheredRows(staging, part) for code, part in SPLIT_NAMES.items()}
    blank = NotedRows()  # rows without tokens
    for batch in iterate_batches(files, scan):
        singles = tokenizer.encode_batch([example.text for example, _ in batch])
        for (example, split), ids in zip(batch, singles, strict=True):
            ids = ids if example.pair is None else tokenizer.encode_pair(example.text, example.pair)
            gathered[split].add(ids or placeholder)
            if not ids:
                blank.add(example.where)
    if blank.count:
        have = "1 row has a text" if blank.count == 1 else f"{blank.count:,} rows have texts"
        use = f"{'it' if blank.count == 1 else 'each'} is read as one placeholder token"
        remark_tokenless(files, f"{have} in which the tokenizer finds no tokens; {use}", blank)
    targets = encode_targets(task, scan, base, staging)
    parts = {code: rows.to_rows(targets.arrays[code]) for code, rows in gathered.items()}
    tokenizer.save(staging / TOKENIZER)
    facts = _facts(
        task,
        "tokens",
        targets,
        vocab_size=tokenizer.vocab_size,
        tokenizer=tokenizer.kind,
        blank=tokenizer.blank_id,
        specials=tokenizer.special_ids,
        report=_lengths(parts, "tokens"),
    )
    return assemble(facts, parts, staging)


def remark_tokenless(files: DataFiles, message: str, rows: NotedRows) -> None:
    """Add a warning about rows with too few tokens. If there are two files, the warning does not name the first row."""
    where = rows.places[0] if files.validation is None else ""
    files.training.source.remark("no_tokens", message, where, rows.count, "warn")


def encode_numbers(
    files: DataFiles, scan: Scan, spec: TrainSpec, base: BaseCheckpoint | None, staging: Path
) -> Dataset:
    """Encode numeric sequences, each with a target."""
    task, source, width = scan.task, files.training.source, scan.steps_SF.shape[1]
    if base is not None and (base.config.input != "features" or base.config.features != width):
        raise source.fault(
            f"has {quantity(width, 'feature')} per step, but the version to fine-tune expects {describe_input(base)}"
        )
    scaling = normalization.measure(lambda: _blocks(scan), width) if base is None else base.normalization
    precision = Precision.of(width)
    flats = {
        code: NumberFile(array_path(staging, part, "flat"), np.float32, width) for code, part in SPLIT_NAMES.items()
    }
    for steps_SF, codes_S in _blocks(scan):
        scaled_SF = normalization.standardise(steps_SF, scaling)
        precision.add(steps_SF, scaled_SF, scaling)
        for code in SPLIT_NAMES:
            flats[code].append(scaled_SF[codes_S == code])
    targets = encode_targets(task, scan, base, staging)
    parts = {}
    for code in SPLIT_NAMES:
        offsets_N1 = np.concatenate([[0], np.cumsum(scan.lengths_N[scan.splits_N == code])]).astype(np.int64)
        parts[code] = Rows(flats[code].close(), offsets_N1, targets.arrays[code])
    lost = precision.warnings(files.training.steps)
    length_report = _lengths(parts, "steps") | ({"lost_precision": lost} if lost else {})
    facts = _facts(task, "features", targets, features=width, normalization=scaling, report=length_report)
    return assemble(facts, parts, staging)


def assemble(facts: Facts, parts: dict[int, Any], staging: Path) -> Dataset:
    """Combine the `parts`, which are keyed by split codes, into a dataset. An empty test part is left out."""
    train, validation, test = (parts.get(code) for code in SPLIT_NAMES)
    assert train is not None and validation is not None
    size = 0 if test is None else len(test) if isinstance(test, Rows) else len(test.ids_T) - test.context
    tokenizer = staging / TOKENIZER
    return Dataset(facts, train, validation, test if size else None, tokenizer if tokenizer.exists() else None)


def _facts(task: str, kind: str, targets: Targets, **more: Any) -> Facts:
    return Facts(
        task, kind, "rows", labels=targets.labels, label_counts=targets.label_counts, target=targets.scale, **more
    )


def _lengths(parts: dict[int, Rows], unit: str) -> dict[str, Any]:
    lengths = {SPLIT_NAMES[code]: report.lengths_of(rows) for code, rows in parts.items() if len(rows)}
    return {"length_histogram": report.histogram(lengths, unit)}


def _blocks(scan: Scan) -> Iterator[tuple[NDArray[np.float64], NDArray[np.uint8]]]:
    """Yield the steps of all rows and the split of each step, in blocks of rows."""
    offsets_N1 = np.concatenate([[0], np.cumsum(scan.lengths_N)])
    for start in range(0, len(scan.lengths_N), _BLOCK_ROWS):
        rows = slice(start, start + _BLOCK_ROWS)
        end = min(start + _BLOCK_ROWS, len(scan.lengths_N))
        steps_SF = scan.steps_SF[offsets_N1[start] : offsets_N1[end]]
        yield steps_SF, np.repeat(scan.splits_N[rows], scan.lengths_N[rows])
