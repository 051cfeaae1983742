"""The modes of an engine include OpenVINO's only where it can be used."""

from __future__ import annotations

from copy import deepcopy

import pytest

from app.engine import openvino_body
from app.engine.modes import set_mode, supported_modes
from models.kernels.modes import ComputeMode
from models.kernels.modes import supported_modes as of_torch
from tests.engine.builders import CPU
from tests.models.configurations import classifier, classifiers

CONFIG = classifiers()["transformer-mean-tokens"]


def test_without_openvino_the_modes_are_those_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    network = classifier(CONFIG)
    expected = of_torch(CPU, network, generates=False)
    monkeypatch.setattr(openvino_body, "version", lambda: "2026.4")
    both = supported_modes(CPU, network, generates=False)
    assert both[: len(expected)] == expected and ComputeMode("float32", "openvino") in both
    monkeypatch.setattr(openvino_body, "version", lambda: None)
    assert supported_modes(CPU, network, generates=False) == expected


def test_the_size_of_a_compiled_network_counts_both_layouts() -> None:
    pytest.importorskip("openvino", reason="needs the extra `openvino`")
    plain = classifier(CONFIG).requires_grad_(False)
    body = sum(weight.nbytes for weight in plain.body.parameters())
    size = set_mode(deepcopy(plain), ComputeMode("float32", "torch"), CPU)
    assert set_mode(deepcopy(plain), ComputeMode("float32", "openvino"), CPU) == size + body
