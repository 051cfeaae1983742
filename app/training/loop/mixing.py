"""Fits the weights that combine the outputs of a network with those of its n-gram branch.

The weights minimise the loss on the validation rows. If there are few rows, both weights remain close to one half.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

OutputTable = NDArray[np.float64]
EQUAL = np.array([0.5, 0.5])
PRIOR_ROWS = 10.0  # the prior has the weight of this many rows whose outputs have a variance of 1
_STEPS = 30  # the maximum number of Newton iterations; about five are needed


def fit(
    task: str, network_NC: OutputTable, branch_NC: OutputTable, targets_N: NDArray[np.generic]
) -> NDArray[np.float64]:
    """Return two non-negative weights: one for the network's outputs, one for the branch's.

    Supports all tasks except generation.
    """
    parts_2NC, targets = np.stack([network_NC, branch_NC]), targets_N.astype(np.float64)
    weights = _newton(task, parts_2NC, targets, np.array([True, True]))
    if weights.min() < 0:  # if one part does not help, use only the other part
        weights = _newton(task, parts_2NC, targets, weights > 0)
    return np.maximum(weights, 0.0)


def _newton(task: str, parts_2NC: OutputTable, targets: OutputTable, used: NDArray[np.bool_]) -> OutputTable:
    """Minimise the loss over the `used` weights. The other weights are 0."""
    weights = EQUAL * used
    rows = parts_2NC.shape[1]
    for _ in range(_STEPS):
        slope_2, curvature_22 = _derivatives(task, parts_2NC, targets, weights)
        slope_2 += PRIOR_ROWS * (weights - EQUAL)
        curvature_22 += (PRIOR_ROWS + 1e-9 * rows) * np.eye(2)
        step = np.zeros(2)
        step[used] = np.linalg.solve(curvature_22[np.ix_(used, used)], slope_2[used])
        # A bounded step keeps Newton's method from overshooting where the loss is almost flat.
        weights = weights - step * min(1.0, 1.0 / max(1e-12, float(np.abs(step).max())))
    return weights


def _derivatives(
    task: str, parts_2NC: OutputTable, targets: OutputTable, weights: OutputTable
) -> tuple[OutputTable, OutputTable]:
    """Return the gradient and the Hessian of the summed loss."""
    outputs_NC = np.tensordot(weights, parts_2NC, 1)
    if task == "classification":
        return _softmax_derivatives(parts_2NC, targets.astype(np.int64), outputs_NC)
    if task == "multilabel":
        probs_NC = 1.0 / (1.0 + np.exp(-outputs_NC))
        errors_NC, spread_NC = probs_NC - targets, probs_NC * (1.0 - probs_NC)
    else:
        errors_NC, spread_NC = outputs_NC - targets[:, None], np.ones_like(outputs_NC)
    slope_2 = np.einsum("knc,nc->k", parts_2NC, errors_NC)
    return slope_2, np.einsum("knc,lnc,nc->kl", parts_2NC, parts_2NC, spread_NC)


def _softmax_derivatives(
    parts_2NC: OutputTable, targets_N: NDArray[np.int64], outputs_NC: OutputTable
) -> tuple[OutputTable, OutputTable]:
    probs_NC = np.exp(outputs_NC - outputs_NC.max(1, keepdims=True))
    probs_NC /= probs_NC.sum(1, keepdims=True)
    means_2N = np.einsum("knc,nc->kn", parts_2NC, probs_NC)
    slope_2 = (means_2N - parts_2NC[:, np.arange(len(targets_N)), targets_N]).sum(1)
    return slope_2, np.einsum("knc,lnc,nc->kl", parts_2NC, parts_2NC, probs_NC) - means_2N @ means_2N.T
