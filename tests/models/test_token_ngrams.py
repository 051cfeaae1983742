"""The n-gram branch of a language model depends only on the last tokens, both in a parallel pass and in steps."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.config import ModelConfig
from models.interface import Context
from models.tasks import LanguageModel
from tests.models.configurations import SMALL, generator

CONFIG = ModelConfig(
    architecture="gru", task="generation", vocab_size=2**20, ngram_buckets=2**12, ngram_tokens=3, **SMALL
)


@pytest.fixture(scope="module")
def network() -> LanguageModel:
    torch.manual_seed(0)
    return generator(CONFIG)


def vectors(network: LanguageModel, ids: list[int]) -> torch.Tensor:
    assert network.ngrams is not None
    with torch.no_grad():
        vectors_BTD: torch.Tensor = network.ngrams(torch.tensor([ids]), Context())
    return vectors_BTD[0]


def test_only_the_last_tokens_count_and_their_order_does(network: LanguageModel) -> None:
    long, short, turned = (vectors(network, ids)[-1] for ids in ([5, 9, 7, 1, 2], [7, 1, 2], [1, 7, 2]))
    assert torch.equal(long, short)
    assert not torch.equal(short, turned)
    assert not torch.equal(vectors(network, [1, 2])[-1], short)  # at the start of a text, the n-grams differ


@settings(max_examples=40)
@given(
    ids=st.lists(st.integers(0, CONFIG.vocab_size - 1), min_size=1, max_size=8),
    cuts=st.sets(st.integers(1, 7)),
    kind=st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_pieces_give_the_same_vectors_in_every_type(
    ids: list[int], cuts: set[int], kind: torch.dtype, network: LanguageModel
) -> None:
    """A bfloat16 state keeps token ids exactly, although bfloat16 cannot represent all integers above 256."""
    branch = network.ngrams
    assert branch is not None
    whole_TD = vectors(network, ids)
    state = network.body.new_state(2)
    state._storage.dtype = kind
    state = state.extended(branch.state_shape)
    bounds = [0, *sorted(cut for cut in cuts if cut < len(ids)), len(ids)]
    parts_BTD = []
    for start, stop in itertools.pairwise(bounds):
        piece = torch.tensor([ids[start:stop], [3] * (stop - start)])  # the second row never has a step
        with torch.no_grad():
            vectors_BTD = branch(piece, Context(torch.tensor([stop - start, 0]), state))
        parts_BTD.append(vectors_BTD[0])
    assert torch.equal(torch.cat(parts_BTD), whole_TD)
    assert not state.layers[-1][0][1].any()


@pytest.mark.parametrize("longest", [0, 1, 9])
def test_lengths_that_no_branch_can_have_are_refused(longest: int) -> None:
    with pytest.raises(ValueError, match=r"^ngram_tokens:"):
        ModelConfig.from_dict(CONFIG.to_dict() | {"ngram_tokens": longest})
