"""Kernels are chosen by device and dtype. Binding them drops parameters that are no longer needed."""

from __future__ import annotations

import pytest
import torch

from models.kernels import choice, reference
from tests.models.configurations import generator, generators


def test_no_kernels_are_chosen_for_other_devices() -> None:
    assert choice.choose(torch.device("meta"), torch.float32) is None


def test_the_first_kernels_that_support_device_and_dtype_are_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "KERNELS", (reference,))
    assert choice.choose(torch.device("cpu"), torch.float64) is reference


def test_a_bound_transformer_keeps_only_its_embedding_and_norms() -> None:
    network = generator(generators()["transformer"])
    choice.bind(network, reference)
    assert all("norm" in name or name == "input.embedding.weight" for name in network.state_dict())
