"""The contract of classifiers, tested for every combination of architecture, pooling, direction and input."""

from __future__ import annotations

import math

import pytest
import torch

from models.choices import NETWORKS
from models.config import ModelConfig
from tests.models.configurations import LENGTHS, batch, classifier, classifiers, loss, targets

CONFIGS = classifiers()
every_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())


@every_config
@torch.inference_mode()
def test_padding_and_other_rows_do_not_change_a_row(config: ModelConfig) -> None:
    network = classifier(config)
    inputs, lengths_B = batch(config)
    together_BC, vectors_BD = network(inputs, lengths_B), network.embed(inputs, lengths_B)
    assert together_BC.shape == (len(LENGTHS), config.classes)
    assert not torch.allclose(together_BC[0], together_BC[2], atol=1e-4)
    for row, length in enumerate(LENGTHS):
        alone = inputs[row : row + 1, :length], lengths_B[row : row + 1]
        torch.testing.assert_close(together_BC[row], network(*alone)[0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(vectors_BD[row], network.embed(*alone)[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(vectors_BD.norm(dim=1), torch.ones(len(LENGTHS)))


@every_config
def test_the_loss_of_a_new_network_is_that_of_a_uniform_guess(config: ModelConfig) -> None:
    network = classifier(config)
    inputs, lengths_B = batch(config, (12,) * 24)
    first = loss(network, inputs, lengths_B, targets(config, 24)).item()
    if config.task == "classification":
        assert first == pytest.approx(math.log(config.classes), rel=0.06)
    if config.task == "multilabel":
        assert first == pytest.approx(math.log(2), rel=0.06)


@every_config
def test_training_overfits_one_batch(config: ModelConfig) -> None:
    network = classifier(config).train()
    inputs, lengths_B = batch(config)
    expected = targets(config)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.02, weight_decay=0.0)
    for _ in range(80):
        optimizer.zero_grad()
        value = loss(network, inputs, lengths_B, expected)
        value.backward()
        optimizer.step()
        if value.item() < 0.1:
            return
    pytest.fail(f"the loss is still {value.item():.3f}")


@every_config
@torch.inference_mode()
def test_the_result_of_an_empty_row_is_finite(config: ModelConfig) -> None:
    network = classifier(config)
    inputs, _ = batch(config)
    lengths_B = torch.tensor([11, 0, 7, 4])
    assert network(inputs, lengths_B).isfinite().all()
    assert network.embed(inputs, lengths_B).isfinite().all()


@pytest.mark.parametrize("architecture", NETWORKS)
@torch.inference_mode()
def test_bfloat16_is_close_to_float32(architecture: str) -> None:
    config = CONFIGS[f"{architecture}-mean-tokens"]
    network = classifier(config)
    inputs, lengths_B = batch(config)
    expected_BC = network(inputs, lengths_B)
    logits_BC = network.to(torch.bfloat16)(inputs, lengths_B).float()
    torch.testing.assert_close(logits_BC, expected_BC, atol=0.02, rtol=0.05)
