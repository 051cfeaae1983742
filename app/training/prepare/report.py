"""The report on the data that users see before a training: counts, lengths, duplicates, conflicts and leaks."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.training.data.example import SPLIT_NAMES, TEST, TRAIN, VALIDATION
from app.training.data.scan import Scan
from app.training.prepare.dataset import Rows, Stream

BINS = 40
Lengths = tuple[NDArray[np.int64], NDArray[np.int64]]  # the distinct lengths, and the number of sequences of each


def of_rows(scan: Scan) -> dict[str, Any]:
    """The report on a table. `lengths` are in characters, or steps.

    `duplicates` counts the rows whose input equals that of another row before it in the same split.
    """
    masks = {name: mask for code, name in SPLIT_NAMES.items() if (mask := scan.splits_N == code).any()}
    result: dict[str, Any] = {
        "rows": {name: int(mask.sum()) for name, mask in masks.items()},
        "lengths": {name: _percentiles(scan.lengths_N[mask]) for name, mask in masks.items()},
        "empty": scan.empty,
        "duplicates": {name: _duplicates(scan.hashes_N[mask]) for name, mask in masks.items()},
        "leaks": _leaks(scan),
    }
    if scan.labels:
        result["labels"] = {name: _label_counts(scan, mask) for name, mask in masks.items()}
        result["conflicting_labels"] = _conflicts(scan.hashes_N, scan.strata_N)
    elif np.ptp(scan.values_N) > 0:
        result["conflicting_values"] = _conflicts(scan.hashes_N, scan.values_N)
    return result


def of_parts(parts: dict[str, Rows | Stream]) -> dict[str, Any]:
    """The report on encoded data: the number of tokens in each part, and of distinct tokens in all. {} for features."""
    flats = {name: part.flat if isinstance(part, Rows) else part.ids_T[part.context :] for name, part in parts.items()}
    ids = [flat for flat in flats.values() if flat.dtype == np.int32]  # numeric steps are float32
    if not ids:
        return {}
    tokens = {name: len(flat) for name, flat in flats.items()}
    return {"tokens": tokens, "distinct_tokens": _count_distinct(ids)}


def histogram(lengths: dict[str, Lengths], unit: str) -> dict[str, Any]:
    """The histogram of the lengths, by split: counts[i] sequences are from edges[i] up to edges[i + 1] long."""
    longest = max((int(values.max()) for values, _ in lengths.values() if len(values)), default=0)
    edges = np.unique(np.linspace(0, longest + 1, BINS + 1).astype(np.int64))
    counts = {
        name: np.histogram(values, edges, weights=counts)[0].astype(int).tolist()
        for name, (values, counts) in lengths.items()
    }
    return {"unit": unit, "edges": edges.tolist(), "counts": counts}


def lengths_of(rows: Rows) -> Lengths:
    """The distinct lengths of the rows, with the number of rows of each."""
    return np.unique(rows.lengths_N, return_counts=True)


def _percentiles(lengths: NDArray[np.int64]) -> dict[str, int]:
    points = {"min": 0, "median": 50, "p90": 90, "p99": 99, "max": 100}
    return {name: int(np.percentile(lengths, point)) for name, point in points.items()}


def _duplicates(hashes: NDArray[np.uint64]) -> int:
    return len(hashes) - len(np.unique(hashes))


def _leaks(scan: Scan) -> dict[str, int]:
    """How many held-out rows are among the train rows too, and how many test rows are among the validation rows."""
    train, validation, test = (scan.hashes_N[scan.splits_N == code] for code in (TRAIN, VALIDATION, TEST))
    leaks = {"validation": int(np.isin(validation, train).sum())}
    if len(test):
        leaks["test"] = int(np.isin(test, train).sum())
        leaks["test_in_validation"] = int(np.isin(test, validation).sum())
    return leaks


def _label_counts(scan: Scan, mask: NDArray[np.bool_]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for stratum, number in zip(*np.unique(scan.strata_N[mask], return_counts=True), strict=True):
        counts.update(dict.fromkeys(scan.strata[int(stratum)], int(number)))
    return dict(sorted(counts.items()))


def _conflicts(hashes_N: NDArray[np.uint64], targets_N: NDArray[Any]) -> int:
    """How many distinct inputs have more than one target."""
    order_N = np.lexsort((targets_N, hashes_N))
    hashes_N, targets_N = hashes_N[order_N], targets_N[order_N]
    differ_N = (hashes_N[1:] == hashes_N[:-1]) & (targets_N[1:] != targets_N[:-1])
    return len(np.unique(hashes_N[1:][differ_N]))


def _count_distinct(flats: list[NDArray[np.int32]]) -> int:
    """The number of distinct ids. Works in blocks, because np.unique would copy and sort all of them."""
    seen: NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)
    for flat in flats:
        for start in range(0, len(flat), 1 << 20):
            block = flat[start : start + (1 << 20)]
            seen = np.concatenate([seen, np.zeros(max(0, int(block.max()) + 1 - len(seen)), dtype=np.bool_)])
            seen[block] = True
    return int(seen.sum())
