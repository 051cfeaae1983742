"""What a person should know of the data before a training: counts, lengths, duplicates, conflicts, leaks.

Knows what the scan has kept, and prepared arrays; reads no file.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.training.data.columns import NAMES, TEST, TRAIN, VALIDATION
from app.training.data.scan import Scan
from app.training.prepare.dataset import Rows, Stream

BINS = 40
Lengths = tuple[NDArray[np.int64], NDArray[np.int64]]  # different lengths, and how often each is there


def of_rows(found: Scan) -> dict[str, Any]:
    """Of a table; `lengths` in characters, or steps. A row is a duplicate where one before it in its split is equal."""
    held = {name: mask for code, name in NAMES.items() if (mask := found.splits_N == code).any()}
    result: dict[str, Any] = {
        "rows": {name: int(mask.sum()) for name, mask in held.items()},
        "lengths": {name: _percentiles(found.lengths_N[mask]) for name, mask in held.items()},
        "empty": found.empty,
        "duplicates": {name: _duplicates(found.hashes_N[mask]) for name, mask in held.items()},
        "leaks": _leaks(found),
    }
    if found.labels:
        result["labels"] = {name: _label_counts(found, mask) for name, mask in held.items()}
        result["conflicting_labels"] = _conflicts(found.hashes_N, found.strata_N)
    elif np.ptp(found.values_N) > 0:
        result["conflicting_values"] = _conflicts(found.hashes_N, found.values_N)
    return result


def of_parts(parts: dict[str, Rows | Stream]) -> dict[str, Any]:
    """Of what was encoded: how much there is of it, and of how many kinds."""
    flats = {name: part.flat if isinstance(part, Rows) else part.ids_T[part.context :] for name, part in parts.items()}
    ids = [flat for flat in flats.values() if flat.dtype == np.int32]  # and not numeric steps
    if not ids:
        return {}
    tokens = {name: len(flat) for name, flat in flats.items()}
    return {"tokens": tokens, "distinct_tokens": _kinds(ids)}


def histogram(lengths: dict[str, Lengths], unit: str) -> dict[str, Any]:
    """How many sequences of each split have which length: `counts` from each of the `edges` up to the next."""
    longest = max((int(values.max()) for values, _ in lengths.values() if len(values)), default=0)
    edges = np.unique(np.linspace(0, longest + 1, BINS + 1).astype(np.int64))
    counts = {
        name: np.histogram(values, edges, weights=counts)[0].astype(int).tolist()
        for name, (values, counts) in lengths.items()
    }
    return {"unit": unit, "edges": edges.tolist(), "counts": counts}


def lengths_of(rows: Rows) -> Lengths:
    return np.unique(rows.lengths_N, return_counts=True)


def _percentiles(lengths: NDArray[np.int64]) -> dict[str, int]:
    points = {"min": 0, "median": 50, "p90": 90, "p99": 99, "max": 100}
    return {name: int(np.percentile(lengths, at)) for name, at in points.items()}


def _duplicates(hashes: NDArray[np.uint64]) -> int:
    return len(hashes) - len(np.unique(hashes))


def _leaks(found: Scan) -> dict[str, int]:
    """Held-out rows that stand in the train rows too; and test rows that stand in the validation rows."""
    train, validation, test = (found.hashes_N[found.splits_N == code] for code in (TRAIN, VALIDATION, TEST))
    leaks = {"validation": int(np.isin(validation, train).sum())}
    if len(test):
        leaks["test"] = int(np.isin(test, train).sum())
        leaks["test_in_validation"] = int(np.isin(test, validation).sum())
    return leaks


def _label_counts(found: Scan, mask: NDArray[np.bool_]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for stratum, number in zip(*np.unique(found.strata_N[mask], return_counts=True), strict=True):
        counts.update(dict.fromkeys(found.strata[int(stratum)], int(number)))
    return dict(sorted(counts.items()))


def _conflicts(hashes_N: NDArray[np.uint64], targets_N: NDArray[Any]) -> int:
    """Inputs that stand there with more than one target."""
    order_N = np.lexsort((targets_N, hashes_N))
    hashes_N, targets_N = hashes_N[order_N], targets_N[order_N]
    differ_N = (hashes_N[1:] == hashes_N[:-1]) & (targets_N[1:] != targets_N[:-1])
    return len(np.unique(hashes_N[1:][differ_N]))


def _kinds(flats: list[NDArray[np.int32]]) -> int:
    """How many different ids there are, found without a copy of them all."""
    seen: NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)
    for flat in flats:
        for start in range(0, len(flat), 1 << 20):
            block = flat[start : start + (1 << 20)]
            seen = np.concatenate([seen, np.zeros(max(0, int(block.max()) + 1 - len(seen)), dtype=np.bool_)])
            seen[block] = True
    return int(seen.sum())
