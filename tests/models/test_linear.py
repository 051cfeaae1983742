"""The linear model has the interface of the other classifiers, and only the parameters of the n-gram branch."""

from __future__ import annotations

import torch

from models.linear import LinearClassifier
from tests.models.configurations import batch, built, with_branches

CONFIGS = [config for config in with_branches().values() if config.architecture == "linear"]


def test_its_only_output_is_its_score() -> None:
    for config in CONFIGS:
        network = built(config).eval()
        assert isinstance(network, LinearClassifier)
        inputs, lengths_B = batch(config)
        (scores_BC,) = network.outputs(inputs, lengths_B)
        assert scores_BC.shape == (len(lengths_B), config.classes)
        assert torch.equal(network.combine([scores_BC]), network(inputs, lengths_B))
        assert {name.partition(".")[0] for name, _ in network.named_parameters()} == {"ngrams"}
