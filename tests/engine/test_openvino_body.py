"""OpenVINO computes every body as torch does, can be stopped, and is not used if its results are wrong."""

from __future__ import annotations

import sys
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from app.engine import openvino_body
from app.engine.modes import set_mode
from app.engine.openvino_body import KERNEL, OpenVinoBody
from app.exporting.onnx.transformer_graph import TransformerGraph
from models import interruption
from models.choices import LOCAL_BLOCK
from models.config import ModelConfig
from models.interface import Context
from models.kernels.modes import ComputeMode
from tests.engine.builders import CPU
from tests.models.configurations import batch, classifier, classifiers, generators

pytest.importorskip("openvino", reason="needs the extra `openvino`")
MODE = ComputeMode("float32", KERNEL)
BODIES = {name: config for name, config in classifiers().items() if name.endswith("-mean-tokens")}
OTHERS = ("lstm-last-features", "transformer-max-features", "lstm-deep", "transformer-scored")
CHOSEN = BODIES | {name: config for name, config in classifiers().items() if name in OTHERS}


@pytest.mark.parametrize("config", CHOSEN.values(), ids=CHOSEN.keys())
@torch.inference_mode()
def test_networks_compute_the_same(config: ModelConfig) -> None:
    plain = classifier(config)
    other, (inputs, lengths_B) = deepcopy(plain), batch(config)
    assert set_mode(other, MODE, CPU, 2) > 0
    for lengths in (lengths_B, torch.full_like(lengths_B, inputs.shape[1])):
        torch.testing.assert_close(other(inputs, lengths), plain(inputs, lengths), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(other.embed(inputs, lengths_B), plain.embed(inputs, lengths_B), atol=1e-5, rtol=1e-4)


def body(name: str = "transformer-mean-tokens") -> tuple[OpenVinoBody, torch.Tensor]:
    """A compiled body, and random input vectors for it."""
    network = classifier(classifiers()[name]).requires_grad_(False)
    return OpenVinoBody(network, torch.float32, 1), torch.randn(2, 9, network.config.width)


@torch.inference_mode()
def test_a_computation_can_be_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled, x_BTD = body()
    before = compiled(x_BTD, Context())
    monkeypatch.setattr(openvino_body, "WAIT_MS", 0)
    large_BTD = torch.randn(512, 32, x_BTD.shape[2])
    with pytest.raises(interruption.ComputationStopped), interruption.interruptible(lambda: True):
        compiled(large_BTD, Context())
    assert torch.equal(compiled(x_BTD, Context()), before)


@torch.inference_mode()
def test_long_batches_are_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_body, "LONGEST", 8)
    compiled, x_BTD = body()
    monkeypatch.setattr(compiled, "_run", None)
    assert compiled(x_BTD, Context()).shape == x_BTD.shape
    assert any(True for _ in compiled.parameters())  # the weights are still there for torch


@torch.inference_mode()
def test_batches_for_which_blocks_save_time_are_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    longest = LOCAL_BLOCK + 2 * 2  # the window is 2
    network = classifier(replace(classifiers()["transformer-modern-mean-tokens"], context_length=longest + 1))
    compiled, calls = OpenVinoBody(network.requires_grad_(False), torch.float32, 1), list[int]()
    right = compiled._run

    def run(x_BTD: torch.Tensor, lengths_B: torch.Tensor) -> torch.Tensor:
        calls.append(x_BTD.shape[1])
        return right(x_BTD, lengths_B)

    monkeypatch.setattr(compiled, "_run", run)
    for steps in (longest, longest + 1):
        x_BTD = torch.randn(2, steps, network.config.width)
        torch.testing.assert_close(compiled(x_BTD, Context()), network.body(x_BTD, Context()), atol=1e-5, rtol=1e-4)
    assert calls == [longest]


def test_a_state_is_refused() -> None:
    compiled, _ = body("lstm-mean-tokens")
    with pytest.raises(TypeError, match="has no state"):
        compiled.new_state(1)


def test_wrong_results_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = OpenVinoBody._run
    monkeypatch.setattr(OpenVinoBody, "_run", lambda *arguments: right(*arguments) * 1.01)
    with pytest.raises(RuntimeError, match="differ from torch's"):
        body()


def test_wrong_results_outside_a_window_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = {"context_length": 128, "attention_window": 40}  # more than PROOF_LENGTHS
    network = classifier(replace(classifiers()["transformer-modern-mean-tokens"], **wide)).requires_grad_(False)
    OpenVinoBody(network, torch.float32, 1)
    monkeypatch.setattr(TransformerGraph, "_distant_scores", lambda graph: graph.graph.constant(0.0))
    with pytest.raises(RuntimeError, match="differ from torch's"):
        OpenVinoBody(network, torch.float32, 1)


def test_too_little_memory_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_body, "free_memory", lambda: openvino_body.MARGIN)
    with pytest.raises(RuntimeError, match="not enough free memory"):
        body()


def test_a_broken_package_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(RuntimeError, match="cannot be imported"):
        body()


def test_what_is_supported(monkeypatch: pytest.MonkeyPatch) -> None:
    config, layer = classifiers()["lstm-mean-tokens"], torch.nn.Linear(1, 1)
    assert openvino_body.supports(CPU, config, layer)
    assert not openvino_body.supports(torch.device("cuda"), config, layer)
    assert not openvino_body.supports(CPU, config, None)
    assert not openvino_body.supports(CPU, replace(config, bidirectional=True), layer)
    assert not openvino_body.supports(CPU, generators()["lstm"], layer)
    monkeypatch.setattr(openvino_body, "KERNEL", "a package that is not installed")
    assert not openvino_body.supports(CPU, config, layer)


@given(st.lists(st.integers(0, 500), min_size=1, max_size=40))
def test_rows_are_grouped_by_length(lengths: list[int]) -> None:
    groups = openvino_body._groups(lengths)
    assert sorted(row for rows, _ in groups for row in rows) == list(range(len(lengths)))
    for rows, steps in groups:
        assert steps == [max(1, lengths[row]) for row in rows]
        before = sum(steps[:-1])
        assert before < openvino_body.FULL or steps[0] >= openvino_body.SIMILAR * steps[-1]
