"""Long sequences are computed in pieces, and the caller can stop the computation between two pieces."""

from __future__ import annotations

import itertools

import pytest
import torch

from models import recurrent
from models.config import ModelConfig
from models.interruption import ComputationStopped, check, interruptible
from models.tasks import build

SHAPE = {"task": "classification", "vocab_size": 20, "classes": 3, "width": 16}


@pytest.mark.parametrize("architecture", ["rnn", "lstm", "gru"])
def test_pieces_give_the_same_result(monkeypatch: pytest.MonkeyPatch, architecture: str) -> None:
    config = ModelConfig(architecture=architecture, layers=2, **SHAPE)  # type: ignore[arg-type]
    network = build(config, torch.Generator().manual_seed(1)).eval()
    ids_BT, lengths_B = torch.randint(20, (3, 29)), torch.tensor([29, 17, 3])
    with torch.inference_mode():
        whole = network(ids_BT, lengths_B)
        monkeypatch.setattr(recurrent, "PIECE_STEPS", 8)
        assert torch.allclose(network(ids_BT, lengths_B), whole, atol=1e-6)


@pytest.mark.parametrize(
    ("architecture", "bidirectional"), [("gru", False), ("gru", True), ("lstm", True), ("transformer", False)]
)
def test_a_computation_stops_between_two_parts(
    monkeypatch: pytest.MonkeyPatch, architecture: str, bidirectional: bool
) -> None:
    monkeypatch.setattr(recurrent, "PIECE_STEPS", 8)
    config = ModelConfig(architecture=architecture, layers=4, heads=2, bidirectional=bidirectional, **SHAPE)  # type: ignore[arg-type]
    network = build(config).eval()
    ids_BT, lengths_B, checks = torch.randint(20, (1, 32)), torch.tensor([32]), itertools.count(1)
    with torch.inference_mode():
        with pytest.raises(ComputationStopped), interruptible(lambda: next(checks) == 3):
            network(ids_BT, lengths_B)
        assert next(checks) == 4
        network(ids_BT, lengths_B)  # outside of the block, nothing stops it
    assert next(checks) == 5
    check()
