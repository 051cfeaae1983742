"""Standardises numeric steps with the mean and standard deviation of the training data.

The mean is subtracted in float64, and only the result is converted to float32. In float32, a number such as
123,456,700.25 would lose its decimals, because adjacent float32 values of this size differ by 8. Checkpoints trained in
this way have `"dtype": "float64"` in their `normalization`. Imported and older checkpoints lack this key. For such
checkpoints, inputs are standardised in float32, as they were during training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.training.data.example import TRAIN

# yields steps and the split of each step, in order
Blocks = Callable[[], Iterator[tuple[NDArray[np.float64], NDArray[np.uint8]]]]
Normalization = dict[str, Any]  # keys: mean and std, each a list of numbers, and dtype
_EPSILON, _SMALLEST = 4 * float(np.finfo(np.float64).eps), float(np.finfo(np.float32).tiny)


def measure(blocks: Blocks, width: int) -> Normalization:
    """Compute the mean and standard deviation of each feature over the steps of the training data, in two passes.

    A constant feature gets a standard deviation of 1, to avoid division by zero. A feature counts as constant if its
    standard deviation is within the rounding error of float64, relative to its mean, or too small for float32.
    """
    origin_F, count = np.zeros(width), 0
    sum_F, squares_F = np.zeros(width), np.zeros(width)
    for steps_SF in _train(blocks):
        # Summing the differences from the first step avoids the rounding errors that a large common offset would cause.
        origin_F = origin_F if count else steps_SF[0].astype(np.float64)
        sum_F += (steps_SF - origin_F).sum(0)
        count += len(steps_SF)
    mean_F = origin_F + sum_F / count
    for steps_SF in _train(blocks):
        squares_F += ((steps_SF - mean_F) ** 2).sum(0)
    std_F = np.sqrt(squares_F / count)
    constant_F = (std_F <= _EPSILON * np.abs(mean_F)) | (std_F < _SMALLEST)
    std_F = np.where(constant_F, 1.0, std_F)
    return {"mean": mean_F.tolist(), "std": std_F.tolist(), "dtype": "float64"}


def standardise(steps_SF: NDArray[np.float64], scaling: Normalization | None) -> NDArray[np.float32]:
    """Standardise steps for the network. Without `scaling`, they are only converted to float32."""
    if scaling is None:
        return steps_SF.astype(np.float32)
    dtype = np.dtype(scaling.get("dtype", "float32"))
    mean_F, std_F = np.asarray(scaling["mean"], dtype), np.asarray(scaling["std"], dtype)
    return ((steps_SF.astype(dtype) - mean_F) / std_F).astype(np.float32)


def _train(blocks: Blocks) -> Iterator[NDArray[np.float64]]:
    """Yield the steps of the training data in each block. Blocks without such steps are left out."""
    for steps_SF, codes_S in blocks():
        train_SF = steps_SF[codes_S == TRAIN]
        if len(train_SF):
            yield train_SF
