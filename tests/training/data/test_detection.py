"""Tests of the detection of a file's format."""

from __future__ import annotations

from app.training.data import detection
from app.training.data.formats import READERS


def test_every_format_has_a_noun_for_messages() -> None:
    assert {*detection._NOUNS, *detection.BINARY_FORMATS} == {*READERS, "text"}
    assert not detection._NOUNS.keys() & detection.BINARY_FORMATS
