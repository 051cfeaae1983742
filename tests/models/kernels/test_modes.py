"""In every supported mode, every network gives the results of the reference, within the rounding of its type."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch

from models.config import ModelConfig
from models.interface import Context
from models.kernels import choice, onednn, reference
from models.kernels.modes import ComputeMode, fixed_mode, set_mode, supported_modes
from tests.models.configurations import batch, classifier, classifiers, generator, generators

CPU = torch.device("cpu")
ROUNDING = {"float32": 1e-5, "float16": 5e-3, "bfloat16": 5e-2}
SOME = {name: config for name, config in classifiers().items() if name.endswith(("mean-tokens", "max-features-both"))}


def test_a_mode_is_read_from_its_name() -> None:
    mode = ComputeMode("bfloat16", "onednn")
    assert ComputeMode.parse(str(mode)) == mode and mode.dtype == torch.bfloat16
    assert ComputeMode("float16", "fbgemm").dtype == torch.float32


def test_plain_float32_is_always_supported() -> None:
    for device in (CPU, torch.device("meta")):
        modes = supported_modes(device, classifier(SOME["lstm-mean-tokens"]), generates=False)
        assert ComputeMode("float32", "torch") in modes
    assert fixed_mode(torch.device("meta"), torch.float32, generates=True) == ComputeMode("float32", "torch")


def test_whole_sequences_of_recurrent_networks_have_no_kernels() -> None:
    modes = supported_modes(CPU, classifier(SOME["lstm-mean-tokens"]), generates=False)
    assert {mode.kernel for mode in modes} == {"torch"}


def test_the_fixed_mode_packs_matrices_for_decoding_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "KERNELS", (reference,))
    assert fixed_mode(CPU, torch.float32, generates=True) == ComputeMode("float32", "reference")
    assert fixed_mode(CPU, torch.float32, generates=False) == ComputeMode("float32", "torch")


def test_an_unknown_kernel_is_an_error() -> None:
    with pytest.raises(KeyError):
        choice.named("turbo")


@pytest.mark.parametrize("config", SOME.values(), ids=SOME.keys())
@torch.inference_mode()
def test_classifiers_in_every_mode(config: ModelConfig) -> None:
    plain = classifier(config)
    inputs, lengths_B = batch(config)
    expected = plain(inputs, lengths_B)
    for mode in supported_modes(CPU, plain, generates=False):
        other = deepcopy(plain)
        assert set_mode(other, mode, CPU) > 0
        x = inputs if config.input == "tokens" else inputs.to(mode.dtype)
        bound = ROUNDING[mode.type]
        torch.testing.assert_close(other(x, lengths_B).float(), expected, atol=bound, rtol=bound, msg=str(mode))


@pytest.mark.parametrize("config", generators().values(), ids=generators().keys())
@torch.inference_mode()
def test_generators_in_every_mode(config: ModelConfig) -> None:
    plain = generator(config)
    for mode in supported_modes(CPU, plain, generates=True):
        other = deepcopy(plain)
        set_mode(other, mode, CPU)
        states = plain.new_state(3), other.new_state(3)
        for _ in range(3):
            ids_B1 = torch.randint(config.vocab_size, (3, 1))
            logits = [
                network.logits(network(ids_B1, Context(None, state))[:, 0]).float()
                for network, state in zip((plain, other), states, strict=True)
            ]
            bound = ROUNDING[mode.type]
            torch.testing.assert_close(*logits, atol=bound, rtol=bound, msg=str(mode))


def test_the_size_counts_weights_that_are_in_memory_twice() -> None:
    plain = generator(generators()["lstm"])
    size = sum(tensor.nbytes for tensor in plain.state_dict().values())
    assert set_mode(deepcopy(plain), ComputeMode("float32", "torch"), CPU) == size
    assert set_mode(deepcopy(plain), ComputeMode("bfloat16", "torch"), CPU) == size // 2
    if onednn.supports(CPU, torch.float32):
        assert size < set_mode(deepcopy(plain), ComputeMode("float32", "onednn"), CPU) <= 2 * size
