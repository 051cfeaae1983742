"""The operations that are written to ONNX graphs."""

from __future__ import annotations

import pytest

from app.exporting.onnx.graph import Graph
from models.choices import ACTIVATIONS, CHOICES, GATED


def test_every_activation_is_exported_and_an_unknown_one_is_an_error() -> None:
    graph = Graph()
    assert graph.activation("none", "x") == "x"
    for name in {*ACTIVATIONS, *CHOICES["activation"]} - {"none", *GATED}:  # gates are exported with their layers
        assert graph.activation(name, "x") != "x"
    with pytest.raises(ValueError, match="'softplus'"):
        graph.activation("softplus", "x")
