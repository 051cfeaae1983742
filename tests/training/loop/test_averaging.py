"""The moving average of the weights."""

from __future__ import annotations

import pytest
import torch

from app.training.loop.averaging import AveragedWeights
from models.tasks import Classifier, build
from tests.training.loops import settled


@pytest.fixture
def network() -> Classifier:
    network = build(settled().config)
    assert isinstance(network, Classifier)
    return network


def test_early_steps_count_for_little_and_later_ones_for_the_decay(network: Classifier) -> None:
    averaged = AveragedWeights(network, 0.75)
    expected = network.head.weight.detach().clone()
    for step in range(40):
        with torch.no_grad():
            network.head.weight.fill_(float(step))
        averaged.update(step)
        decay = min(0.75, (1 + step) / (10 + step))
        expected = expected * decay + step * (1 - decay)
    torch.testing.assert_close(averaged.tensors["head.weight"], expected)


def test_they_are_in_the_network_for_a_while_also_after_an_error(network: Classifier) -> None:
    averaged, initial = AveragedWeights(network, 0.9), network.head.weight.detach().clone()
    parameter = network.head.weight
    with torch.no_grad():
        parameter.fill_(3.0)
    with pytest.raises(KeyError), averaged.applied():
        assert network.head.weight is parameter and torch.equal(parameter, initial)
        raise KeyError
    assert network.head.weight is parameter and (parameter == 3.0).all()


def test_without_a_decay_there_are_none(network: Classifier) -> None:
    averaged = AveragedWeights(network, 0.0)
    averaged.update(0)
    before = {name: parameter.data_ptr() for name, parameter in network.named_parameters()}
    with averaged.applied():
        assert averaged.tensors == {}
        assert {name: parameter.data_ptr() for name, parameter in network.named_parameters()} == before
