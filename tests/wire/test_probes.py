"""Encoded probes can be decoded. Damaged probes are treated as missing."""

from __future__ import annotations

import pytest

from app.wire.engine import FeatureSequence
from app.wire.probes import IMPORT, LIMIT, MOST, STEPS, ProbeSet, decode, encode, steps_allowed


@pytest.mark.parametrize(
    "probes", [ProbeSet(IMPORT, [[1, 2], [3]]), ProbeSet(IMPORT, features=[FeatureSequence(1, 1, b"1234")])]
)
def test_probes_are_decoded(probes: ProbeSet) -> None:
    assert decode(encode(probes)) == probes and len(probes) in (1, 2)


@pytest.mark.parametrize("data", [b"", b"\xff", b"\x80", encode(ProbeSet("x", [[1]]))[:-1], bytes(LIMIT + 1)])
def test_other_bytes_are_no_probes(data: bytes) -> None:
    assert decode(data) is None


def test_any_number_of_features_fits() -> None:
    assert steps_allowed(1) == STEPS
    for features in (10, 1000, 2000):
        assert 1 <= steps_allowed(features) <= STEPS
        assert MOST * steps_allowed(features) * features * 4 < LIMIT
