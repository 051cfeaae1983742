"""The report on encoded data: the number of tokens, and the lengths of sequences."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.training.prepare.dataset import Rows, Stream

BINS = 40
Lengths = tuple[NDArray[np.int64], NDArray[np.int64]]  # distinct lengths, and the number of sequences of each


def of_parts(parts: dict[str, Rows | Stream]) -> dict[str, Any]:
    """Return the number of tokens in each part, and the number of distinct tokens in all parts together.

    Empty for numeric features.
    """
    flats = {name: part.flat if isinstance(part, Rows) else part.ids_T[part.context :] for name, part in parts.items()}
    ids = [flat for flat in flats.values() if flat.dtype == np.int32]  # numeric steps are float32
    if not ids:
        return {}
    tokens = {name: len(flat) for name, flat in flats.items()}
    return {"tokens": tokens, "distinct_tokens": _count_distinct(ids)}


def histogram(lengths: dict[str, Lengths], unit: str) -> dict[str, Any]:
    """Return a histogram of the sequence lengths for each split.

    `counts[i]` is the number of sequences of length `edges[i]` or more, but less than `edges[i + 1]`.
    """
    longest = max((int(values.max()) for values, _ in lengths.values() if len(values)), default=0)
    edges = np.unique(np.linspace(0, longest + 1, BINS + 1).astype(np.int64))
    counts = {
        name: np.histogram(values, edges, weights=counts)[0].astype(int).tolist()
        for name, (values, counts) in lengths.items()
    }
    return {"unit": unit, "edges": edges.tolist(), "counts": counts}


def lengths_of(rows: Rows) -> Lengths:
    """Return the distinct lengths of the rows, and the number of rows of each length."""
    return np.unique(rows.lengths_N, return_counts=True)


def _count_distinct(flats: list[NDArray[np.int32]]) -> int:
    """Count the distinct ids. Processes the ids in blocks, because np.unique would copy and sort all of them."""
    seen: NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)
    for flat in flats:
        for start in range(0, len(flat), 1 << 20):
            block = flat[start : start + (1 << 20)]
            seen = np.concatenate([seen, np.zeros(max(0, int(block.max()) + 1 - len(seen)), dtype=np.bool_)])
            seen[block] = True
    return int(seen.sum())
