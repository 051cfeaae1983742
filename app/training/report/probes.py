"""Selects inputs from the validation data. Engines use them to compare data types (`app.wire.probes`)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from app.training.prepare.dataset import Facts, Rows, Stream, sample
from app.wire.engine import FeatureSequence
from app.wire.probes import MOST, STEPS, VALIDATION, ProbeSet, steps_allowed

SHORTEST = 64  # minimum number of tokens of a probe from a text, if the text is that long


def of_validation(facts: Facts, part: Rows | Stream) -> ProbeSet:
    """Return up to `MOST` evenly spaced inputs, as token ids or standardised numbers."""
    if isinstance(part, Stream):
        return ProbeSet(VALIDATION, _windows(part.ids_T[part.context :]))
    rows = sample(part, MOST)
    assert isinstance(rows, Rows)
    if facts.input == "tokens":
        return ProbeSet(VALIDATION, [rows.row(i)[:STEPS].tolist() for i in range(len(rows))])
    steps = steps_allowed(facts.features)
    return ProbeSet(VALIDATION, features=[_numbers(rows.row(i)[:steps]) for i in range(len(rows))])


def _windows(ids_T: NDArray[np.int32]) -> list[list[int]]:
    length = max(SHORTEST, min(STEPS, len(ids_T) // MOST))
    count = min(MOST, max(1, len(ids_T) // length))
    starts = np.linspace(0, max(0, len(ids_T) - length), count).astype(np.int64)
    return [ids_T[start : start + length].tolist() for start in starts]


def _numbers(steps_TF: NDArray[np.float32]) -> FeatureSequence:
    return FeatureSequence(len(steps_TF), steps_TF.shape[1], steps_TF.astype("<f4").tobytes())
