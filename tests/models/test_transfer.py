"""Copies to an accelerator come from pinned memory, so that the host does not wait for them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from models.transfer import copy_to


def test_a_copy_is_asynchronous_and_comes_from_pinned_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    pinned, copied = torch.ones(2), torch.ones(2, device="meta")

    def pin(tensor: Tensor) -> Tensor:
        assert tensor.is_contiguous()
        return pinned

    def copy(tensor: Tensor, device: str, *, non_blocking: bool) -> Tensor:
        assert tensor is pinned and device == "meta" and non_blocking
        return copied

    monkeypatch.setattr(Tensor, "pin_memory", pin)
    monkeypatch.setattr(Tensor, "to", copy)
    assert copy_to(torch.zeros(4)[::2], "meta") is copied


def test_on_the_cpu_nothing_is_copied() -> None:
    tensor = torch.zeros(2)
    assert copy_to(tensor, "cpu") is copy_to(tensor, tensor.device) is tensor
