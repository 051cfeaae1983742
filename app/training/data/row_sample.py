"""A sample of the hashes of a version's training rows, in order to recognise these rows in other files.

The sample consists of the smallest hashes (the KMV sketch of Bar-Yossef et al., 2002). In any other file, the rows
whose hashes do not exceed the largest hash of the sample are a random sample too. Each of these rows can be looked up
in the sample.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

TRAIN_SAMPLE = "train_sample"  # the key of the sample in the data report, which is stored with a version
_MOST = 1000


def row_sample(hashes_N: NDArray[np.uint64]) -> dict[str, Any]:
    """Return the number of distinct hashes, and the smallest of them in hexadecimal."""
    distinct = np.unique(hashes_N)
    return {"distinct": len(distinct), "hashes": [f"{number:016x}" for number in distinct[:_MOST].tolist()]}


def count_trained(sample: Any, hashes_N: NDArray[np.uint64]) -> tuple[int, bool]:
    """Return how many of the rows with these hashes are in the sampled data, and whether the number is exact.

    `sample` is the value that `row_sample` returned, perhaps from an uploaded file. Returns (0, True) if it is invalid.
    """
    try:
        sampled = np.asarray([int(number, 16) for number in sample["hashes"]], dtype=np.uint64)
        is_exact = int(sample["distinct"]) <= len(sampled)
    except (TypeError, ValueError, KeyError, OverflowError):
        return 0, True
    if not len(sampled) or not len(hashes_N):
        return 0, True
    compared_N = hashes_N if is_exact else hashes_N[hashes_N <= sampled.max()]
    matches = int(np.isin(compared_N, sampled).sum())
    if is_exact or not matches:
        return matches, is_exact
    return max(1, round(matches / len(compared_N) * len(hashes_N))), False
