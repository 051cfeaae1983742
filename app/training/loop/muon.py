"""Muon: SGD with momentum and orthogonalised update matrices, so that a step has the same size in all directions.

See Jordan et al., 2024, "Muon: An optimizer for hidden layers in neural networks". The size of a step is scaled as in
Liu et al., 2025, "Muon is scalable for LLM training", section 2.2, so that AdamW's learning rates can be used.
"""

from __future__ import annotations

import math

from torch import Tensor

MOMENTUM = 0.95
_STEP_SIZE = 0.2  # the root mean square of the entries of a step, about the same as with AdamW
_ITERATIONS = 5
_QUINTIC = 3.4445, -4.7750, 2.0315  # the coefficients of Jordan et al.; singular values end between 0.7 and 1.2


def orthogonalise(matrix_NDD: Tensor) -> Tensor:
    """Return the matrices (…, rows, columns) with all singular values moved close to 1 by Newton-Schulz iterations.

    The matrices must not have more rows than columns.
    """
    a, b, c = _QUINTIC
    x: Tensor = matrix_NDD / matrix_NDD.square().sum((-2, -1), keepdim=True).sqrt().clamp(min=1e-7)
    for _ in range(_ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


def direction(gradient: Tensor, momentum: Tensor, blocks: int) -> Tensor:
    """Update a matrix's momentum with its gradient, in place, and return the matrix's step for a learning rate of 1.

    The rows of the matrix are divided into `blocks` blocks, such as the gates of an LSTM, that are orthogonalised
    separately.
    """
    momentum.lerp_(gradient, 1.0 - MOMENTUM)
    update = gradient.lerp(momentum, MOMENTUM)
    x = update.view(blocks, -1, update.shape[1])
    tall = x.shape[1] > x.shape[2]
    x = orthogonalise(x.mT if tall else x)
    return ((x.mT if tall else x) * (_STEP_SIZE * math.sqrt(max(x.shape[1:])))).reshape(update.shape)
