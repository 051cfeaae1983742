"""LSTM projections whose matrices do not fit together are refused. `test_programs.py` tests valid ones."""

from __future__ import annotations

import numpy as np
import pytest

from app.importing.pytorch.parts import UnknownNetwork
from app.importing.pytorch.projections import fold_projections
from app.importing.pytorch.tensors import Tensors


def body() -> Tensors:
    """An LSTM body with two layers of width 4, each with a projection to width 2."""
    shapes = {"weight_ih_l0": (16, 3), "weight_hh_l0": (16, 2), "weight_hr_l0": (2, 4)}
    shapes |= {"weight_ih_l1": (16, 2), "weight_hh_l1": (16, 2), "weight_hr_l1": (2, 4)}
    return {name: np.ones(shape, np.float32) for name, shape in shapes.items()}


def test_a_body_without_projections_does_not_change() -> None:
    plain = {name: tensor for name, tensor in body().items() if "hr" not in name}
    assert fold_projections(plain) == (plain, None)


def test_the_projections_become_parts_of_the_matrices_that_read_them() -> None:
    folded, projection = fold_projections(body())
    assert {name: tensor.shape for name, tensor in folded.items()} == {
        "weight_ih_l0": (16, 3), "weight_hh_l0": (16, 4), "weight_ih_l1": (16, 4), "weight_hh_l1": (16, 4),
    }  # fmt: skip
    assert projection is not None and projection.shape == (2, 4)


@pytest.mark.parametrize(
    ("name", "shape"), [("weight_hr_l0", (3, 4)), ("weight_hr_l1", None), ("weight_ih_l1", (16, 3))]
)
def test_projections_that_do_not_fit_are_refused(name: str, shape: tuple[int, int] | None) -> None:
    tensors = body()
    del tensors[name]
    if shape is not None:
        tensors[name] = np.ones(shape, np.float32)
    with pytest.raises(UnknownNetwork, match="do not fit its other matrices"):
        fold_projections(tensors)
