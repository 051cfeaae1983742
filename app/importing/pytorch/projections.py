"""Folds the projections of an `nn.LSTM` with `proj_size` into the matrices that multiply their output.

An LSTM with projections (Sak et al. 2014) multiplies its output by a matrix of shape (proj_size, width). If all
matrices that use the output are multiplied by the projection, an LSTM without projections gives the same results.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from app.importing.pytorch.parts import Layer, UnknownNetwork
from app.importing.pytorch.roles import Roles
from app.importing.pytorch.tensors import Array, Tensors

MARKER = "weight_hr_l"
DIRECTIONS = ("", "_reverse")


def fold_projections(body: Tensors) -> tuple[Tensors, Array | None]:
    """Return the body without projections, and the matrix to multiply its output by (None if it has no projections).

    The matrix has the shape (output of the projections, output of the body). Raises UnknownNetwork if the shapes do not
    fit together.
    """
    if not any(name.startswith(MARKER) for name in body):
        return body, None
    layers = 1 + max(int(name.split("_l")[1].removesuffix("_reverse")) for name in body)
    folded = {name: tensor for name, tensor in body.items() if not name.startswith(MARKER)}
    below: Array | None = None
    try:
        for layer in range(layers):
            ends = [f"{layer}{way}" for way in DIRECTIONS if f"weight_hh_l{layer}{way}" in body]
            for end in ends:
                folded[f"weight_hh_l{end}"] = multiply(body[f"weight_hh_l{end}"], body[MARKER + end])
                if below is not None:
                    folded[f"weight_ih_l{end}"] = multiply(body[f"weight_ih_l{end}"], below)
            below = _side_by_side([body[MARKER + end] for end in ends])
    except (KeyError, ValueError):
        reason = "the projections of its nn.LSTM (proj_size) do not fit its other matrices"
        raise UnknownNetwork(reason, list(body), body) from None
    return folded, below


def read_unprojected(roles: Roles, projection: Array) -> Roles:
    """Return the roles, with the projection of the body's output folded into the layers that use this output."""
    first, *others = roles.head
    scorer = (_folded(roles.scorer[0], projection), *roles.scorer[1:]) if roles.scorer else ()
    return replace(roles, head=(_folded(first, projection), *others), scorer=scorer)


def multiply(left: Array, right: Array) -> Array:
    """Return the product of two matrices, computed in float64. Raises ValueError if their shapes do not fit."""
    wide: NDArray[np.float64] = left.astype(np.float64) @ right.astype(np.float64)
    return wide.astype(np.float32)


def _folded(layer: Layer, projection: Array) -> Layer:
    return Layer(layer.name, multiply(layer.weight, projection), layer.bias)


def _side_by_side(matrices: list[Array]) -> Array:
    """Return a block-diagonal matrix of the projections, one for the output of each direction."""
    rows, columns = (sum(matrix.shape[axis] for matrix in matrices) for axis in (0, 1))
    whole = np.zeros((rows, columns), np.float32)
    row = column = 0
    for matrix in matrices:
        whole[row : row + matrix.shape[0], column : column + matrix.shape[1]] = matrix
        row, column = row + matrix.shape[0], column + matrix.shape[1]
    return whole
