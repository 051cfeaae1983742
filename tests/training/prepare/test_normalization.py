"""The standardisation of numeric steps."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from app.training.data.precision import Precision
from app.training.prepare.normalization import Blocks, measure, standardise


def blocks(*parts: NDArray[np.float64]) -> Blocks:
    """Blocks of steps that are all used for training."""

    def iterate() -> Iterator[tuple[NDArray[np.float64], NDArray[np.uint8]]]:
        for part in parts:
            yield part, np.zeros(len(part), np.uint8)

    return iterate


@pytest.mark.parametrize("offset", [0.0, 1e6, 123_456_700.0, -1.8e12])
def test_an_offset_is_taken_off_in_float64(offset: float) -> None:
    steps_SF = np.random.default_rng(1).normal(0, 2, (600, 3)) + offset
    scaling = measure(blocks(steps_SF[:200], steps_SF[200:]), 3)
    scaled_SF = standardise(steps_SF, scaling)
    assert scaled_SF.dtype == np.float32
    expected_SF = (steps_SF - offset - (steps_SF - offset).mean(0)) / (steps_SF - offset).std(0)
    assert np.abs(scaled_SF - expected_SF).max() < (1e-3 if offset < -1e9 else 1e-5)


def test_a_constant_is_not_magnified() -> None:
    steps_SF = np.full((1000, 1), 123_456_789.1)
    scaling = measure(blocks(*np.split(steps_SF, 10)), 1)
    assert scaling["std"] == [1.0] and np.abs(standardise(steps_SF, scaling)).max() < 1e-6


def test_a_checkpoint_of_an_earlier_release_is_read_in_float32() -> None:
    steps_SF = np.random.default_rng(1).normal(1e6, 2.0, (50, 2))
    old = {"mean": [1e6 + 0.1, 1e6], "std": [2.0, 3.0]}
    mean_F, std_F = np.asarray(old["mean"], np.float32), np.asarray(old["std"], np.float32)
    assert (standardise(steps_SF, old) == (steps_SF.astype(np.float32) - mean_F) / std_F).all()
    assert (standardise(steps_SF, None) == steps_SF.astype(np.float32)).all()
    assert not np.array_equal(standardise(steps_SF, old), standardise(steps_SF, old | {"dtype": "float64"}))


def test_features_that_lose_their_changes_are_named() -> None:
    steps_SF = np.random.default_rng(1).normal(0, 1, (300, 3))
    steps_SF[:, 1] *= 1e-9
    steps_SF[0, 1] = 1e6  # one outlier determines the scale
    scaling = measure(blocks(steps_SF), 3)
    precision = Precision.of(3)
    precision.add(steps_SF, standardise(steps_SF, scaling), scaling)
    (warning,) = precision.warnings()
    assert warning.startswith("feature 2 loses 9") or warning.startswith("feature 2 loses 100%")
    assert precision.warnings(["x", "power", "y"])[0].startswith("feature 'power' loses ")
