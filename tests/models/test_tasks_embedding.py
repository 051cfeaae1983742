"""Networks without a head, whose output is the pooled vector, and the token types of their inputs."""

from __future__ import annotations

import pytest
import torch

from models import parameters
from models.config import ModelConfig
from models.initialisation import initialise
from models.interface import Context
from models.tasks import Embedder, build, build_for_inference
from tests.models.configurations import SMALL, VARIANTS, batch, classifier

TYPED = VARIANTS["transformer-bert"] | SMALL | {"vocab_size": 23}


@pytest.mark.parametrize("pooling", ["mean", "max", "last", "first"])
@torch.inference_mode()
def test_an_embedding_is_the_pooled_vector_at_length_1(pooling: str) -> None:
    config = ModelConfig(task="embedding", **TYPED | {"pooling": pooling, "token_types": 2, "separator_id": 3})
    network = build_for_inference(config).eval()
    assert isinstance(network, Embedder)
    initialise(network, config)
    assert {name: tuple(value.shape) for name, value in network.state_dict().items()} == parameters.shapes(config)
    ids_BT, lengths_B = batch(config)
    vectors_BD = network.embed(ids_BT, lengths_B)
    for row, length in enumerate(lengths_B.tolist()):
        hidden_1TD = network.hidden(ids_BT[row : row + 1, :length], Context())
        pooled_D = network.pooling(hidden_1TD, torch.tensor([length]))[0]
        torch.testing.assert_close(vectors_BD[row], pooled_D / pooled_D.norm(), atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="no output to train"):
        build(config)


@torch.inference_mode()
def test_separators_end_the_parts_of_an_input() -> None:
    config = ModelConfig(task="classification", **TYPED | {"classes": 2, "token_types": 3, "separator_id": 5})
    network = classifier(config)
    ids_1T = torch.tensor([[1, 5, 2, 3, 5, 5, 4]])
    types, words = network.input.types, network.input.embedding
    assert types is not None and words is not None
    expected_1TD = words(ids_1T) + types(torch.tensor([[0, 0, 1, 1, 1, 2, 2]]))
    torch.testing.assert_close(network.input(ids_1T), expected_1TD)
