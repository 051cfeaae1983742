"""Outputs of the Open Inference Protocol."""

from __future__ import annotations

import pytest

from app.api.openinference.outputs import _coding


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("", None),
        ("br, gzip", "gzip"),
        ("deflate, gzip", "deflate"),
        ("gzip;q=0.5", "gzip"),
        ("gzip;q=0", None),
        ("GZIP; Q=0.000, deflate", "deflate"),
    ],
)
def test_a_coding_is_used_if_the_client_accepts_it(accepted: str, coding: str | None) -> None:
    assert _coding(accepted) == coding
