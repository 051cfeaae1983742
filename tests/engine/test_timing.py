"""The speed of real modes is measured for every task and architecture. A mode that fails is left out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from app.engine import timing
from models.config import ModelConfig
from models.kernels.modes import ComputeMode
from tests.engine import builders as b

PLAIN = ComputeMode("float32", "torch")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "SECONDS", 0.0)
    monkeypatch.setattr(timing, "LEAST", 1)


@pytest.mark.parametrize(
    ("architecture", "task", "fields"),
    [
        ("transformer", "classification", {}),
        ("transformer", "generation", {}),
        ("transformer", "embedding", {"classes": 0}),
        ("lstm", "regression", {"input": "features"}),
        ("gru", "generation", {}),
        ("rnn", "multilabel", {"ngram_buckets": 64, "ngram_words": 2}),
        ("transformer", "generation", {"ngram_buckets": 64, "ngram_tokens": 3, "context_length": 2}),
        ("lstm", "classification", {"bidirectional": True, "layers": 9, "vocab_size": 100_000}),
    ],
)
def test_all_modes_of_this_processor_have_a_speed(architecture: str, task: str, fields: dict[str, Any]) -> None:
    config = b.config(architecture, task, **fields)
    modes = timing.modes_of(config, b.CPU)
    assert modes[0] == PLAIN
    speeds = timing.measure(config, modes, b.CPU, 1)
    assert set(speeds) == set(modes) and speeds[PLAIN] == 1.0 and all(speed > 0 for speed in speeds.values())


def test_a_mode_that_fails_has_no_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    real = timing.set_mode

    def fail(network: nn.Module, mode: ComputeMode, device: torch.device) -> int:
        if mode.kernel == "broken":
            raise RuntimeError("illegal instruction")
        return real(network, mode, device)

    monkeypatch.setattr(timing, "set_mode", fail)
    modes = [PLAIN, ComputeMode("float32", "broken")]
    assert timing.measure(b.config("lstm", "classification"), modes, b.CPU, 1) == {PLAIN: 1.0}


def test_the_measured_network_is_small_and_has_the_widths_of_the_version() -> None:
    large = ModelConfig(
        architecture="transformer", task="generation", layers=48, width=4096, heads=32, vocab_size=200_000
    )
    small = timing.reduced(large)
    assert (small.layers, small.width, small.vocab_size) == (4, 4096, 8192)


def test_a_batch_of_a_wide_network_is_small() -> None:
    wide = ModelConfig(
        architecture="transformer", task="classification", layers=24, width=1024, heads=16, vocab_size=100, classes=2
    )
    assert [load.rows for load in timing.workloads(wide)] == [2, 1]
    assert timing.workloads(b.config("lstm", "classification"))[0].rows == 16
