"""Snapshots of real networks are cut and joined, and compared with networks that read all tokens again."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from models.interface import Context
from models.snapshot import Snapshot, join
from models.tasks import LanguageModel
from tests.models.configurations import batch, generator, generators

CONFIGS = generators()
TRANSFORMERS = [name for name, config in CONFIGS.items() if config.architecture == "transformer"]
READ, STEPS = 9, 12


@pytest.fixture(params=CONFIGS)
def network(request: pytest.FixtureRequest) -> LanguageModel:
    torch.manual_seed(3)
    return generator(CONFIGS[request.param])


def read(network: LanguageModel, ids_1T: Tensor, start: int) -> Snapshot:
    state = network.new_state(1)
    network(ids_1T, Context(None, state))
    return state.snapshot(0, start)


@torch.inference_mode()
def test_joined_segments_continue_like_the_whole_sequence(network: LanguageModel) -> None:
    ids_1T, _ = batch(network.config, (STEPS,))
    expected_TD = network(ids_1T, Context())[0, READ:]
    parts = [read(network, ids_1T[:, :stop], start) for start, stop in ((0, 4), (4, 5), (5, READ))]
    state = network.new_state(3)
    network(batch(network.config, (STEPS,))[0], Context(None, state.narrow(1, 1)))  # the slot's former sequence
    network.resume(state, 1, join(parts), ids_1T[0, :READ].tolist())
    assert state.positions == [0, READ, 0]
    hidden_TD = network(ids_1T[:, READ:], Context(None, state.narrow(1, 1)))[0]
    torch.testing.assert_close(hidden_TD, expected_TD, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_only_states_without_fixed_tensors_of_the_body_can_be_cut(network: LanguageModel) -> None:
    assert network.divides(network.new_state(1)) == (network.config.architecture == "transformer")


@pytest.mark.parametrize("stop", [1, 2, 7, READ])
@pytest.mark.parametrize("network", TRANSFORMERS, indirect=True)
@torch.inference_mode()
def test_a_transformer_continues_from_every_cut(network: LanguageModel, stop: int) -> None:
    state = network.new_state(1)
    ids_1T, _ = batch(network.config, (STEPS,))
    whole = read(network, ids_1T[:, :READ], 0)
    network.resume(state, 0, whole.cut(0, stop), ids_1T[0, :stop].tolist())
    hidden_TD = network(ids_1T[:, stop:], Context(None, state))[0]
    torch.testing.assert_close(hidden_TD, network(ids_1T, Context())[0, stop:], atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_a_cut_is_a_copy_of_its_positions_only(network: LanguageModel) -> None:
    ids_1T, _ = batch(network.config, (STEPS,))
    whole = read(network, ids_1T[:, :READ], 0)
    head, tail = whole.cut(0, 4), whole.cut(4, READ)
    assert (head.start, head.position, tail.start, tail.position) == (0, 4, 4, READ)
    assert head.nbytes + tail.nbytes == whole.nbytes  # fixed tensors are only in the tail
    for parts in zip(whole.layers, tail.layers, strict=True):
        for old, new in zip(*parts, strict=True):
            assert old.data_ptr() != new.data_ptr()
