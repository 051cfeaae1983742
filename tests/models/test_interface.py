"""The contract of bodies with a state, tested for every architecture."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from models.config import ModelConfig
from models.interface import Context
from models.parameters import in_branch
from models.state import State, StateFull
from models.tasks import LanguageModel, build
from tests.models.configurations import LENGTHS, batch, generator, generators, loss

CONFIGS = generators()
every_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())


def pieces(network: LanguageModel, ids_BT: Tensor, state: State, counts: Sequence[Sequence[int]]) -> list[Tensor]:
    """Feed the next counts[k][b] ids of row b in call k. Returns the hidden vectors of each row."""
    at, hidden = [0] * len(ids_BT), [[] for _ in ids_BT]
    for call in counts:
        chunk_BT = torch.randint(23, (len(ids_BT), max(1, *call)))  # random padding
        for row, count in enumerate(call):
            chunk_BT[row, :count] = ids_BT[row, at[row] : at[row] + count]
            at[row] += count
        hidden_BTD = network(chunk_BT, Context(torch.tensor(call), state))
        assert hidden_BTD.isfinite().all()
        for row, count in enumerate(call):
            hidden[row].append(hidden_BTD[row, :count])
    return [torch.cat(parts) for parts in hidden]


def tensors(state: State) -> list[Tensor]:
    return [tensor.clone() for layer in state.layers for tensor in layer]


@every_config
@torch.inference_mode()
def test_two_calls_equal_one_pass_at_every_split_point(config: ModelConfig) -> None:
    network = generator(config)
    ids_BT, _ = batch(config, (9, 9))
    whole_BTD = network(ids_BT, Context())
    for split in range(10):
        state = network.new_state(2)
        for row, hidden_TD in enumerate(pieces(network, ids_BT, state, [(split, split), (9 - split, 9 - split)])):
            torch.testing.assert_close(hidden_TD, whole_BTD[row], atol=1e-5, rtol=1e-5)
        assert state.positions == [9, 9]


@every_config
@torch.inference_mode()
def test_each_row_continues_from_its_own_position(config: ModelConfig) -> None:
    network = generator(config)
    ids_BT, _ = batch(config, LENGTHS)
    calls = [(3, 1, 0, 2), (1, 0, 1, 0), (0, 0, 5, 1), (5, 0, 1, 0), (1, 0, 0, 1), (1, 0, 0, 0)]
    state = network.new_state(6).narrow(1, 4)
    hidden = pieces(network, ids_BT, state, calls)
    for row, length in enumerate(LENGTHS):
        alone_TD = network(ids_BT[row : row + 1, :length], Context())[0]
        torch.testing.assert_close(hidden[row], alone_TD, atol=1e-5, rtol=1e-5)
    assert state.positions == list(LENGTHS)


@every_config
@torch.inference_mode()
def test_single_steps_without_lengths_equal_one_pass(config: ModelConfig) -> None:
    network = generator(config)
    ids_BT, _ = batch(config, (32, 32))  # up to the context length
    state = network.new_state(2)
    steps = [network(ids_BT[:, step : step + 1], Context(None, state)) for step in range(32)]
    torch.testing.assert_close(torch.cat(steps, 1), network(ids_BT, Context()), atol=1e-5, rtol=1e-5)


@every_config
@torch.inference_mode()
def test_an_empty_row_leaves_its_state_unchanged(config: ModelConfig) -> None:
    network = generator(config)
    ids_BT, lengths_B = batch(config)
    state = network.new_state(4)
    network(ids_BT, Context(lengths_B, state))
    for steps in (1, 3):
        before, positions = tensors(state), state.positions
        network(ids_BT[:, :steps], Context(torch.tensor([0, steps, 0, 1]), state))
        for old, new in zip(before, tensors(state), strict=True):
            assert torch.equal(old[[0, 2]], new[[0, 2]])
            assert not torch.equal(old[1], new[1])
        assert state.positions == [positions[0], positions[1] + steps, positions[2], positions[3] + 1]
    before = tensors(state)
    assert network(ids_BT[:, :1], Context(torch.zeros(4, dtype=torch.int64), state)).isfinite().all()
    assert all(torch.equal(old, new) for old, new in zip(before, tensors(state), strict=True))


@every_config
@torch.inference_mode()
def test_a_call_in_which_every_row_is_empty(config: ModelConfig) -> None:
    network = generator(config)
    state = network.new_state(2)
    none_B = torch.zeros(2, dtype=torch.int64)
    for steps in (1, 3):
        hidden_BTD = network(torch.randint(23, (2, steps)), Context(none_B, state))
        assert hidden_BTD.shape == (2, steps, config.width)
        assert hidden_BTD.isfinite().all()
    assert not any(tensor.any() for tensor in tensors(state))
    assert state.positions == [0, 0]


@every_config
@torch.inference_mode()
def test_no_step_depends_on_later_steps(config: ModelConfig) -> None:
    network = generator(config)
    ids_BT, _ = batch(config, (10, 10))
    other_BT = ids_BT.clone()
    other_BT[:, 6:] = (other_BT[:, 6:] + 1) % config.vocab_size
    one, two = network(ids_BT, Context()), network(other_BT, Context())
    torch.testing.assert_close(one[:, :6], two[:, :6], atol=1e-6, rtol=1e-6)
    assert not torch.allclose(one[:, 6:], two[:, 6:], atol=1e-3)


@every_config
@torch.inference_mode()
def test_a_sequence_can_be_copied_moved_and_restored(config: ModelConfig) -> None:
    network = generator(config)
    ids_BT, _ = batch(config, (12,))
    expected_TD = network(ids_BT, Context())[0, 8:]
    state = network.new_state(5)
    network(ids_BT[:, :8], Context(None, state.narrow(1, 1)))
    state.copy(1, 3)
    snapshot = state.snapshot(1)
    state.move(1, 0)
    assert state.positions == [8, 0, 0, 8, 0]
    network(ids_BT[:, 8:], Context(None, state.narrow(3, 1)))  # the copy is independent
    state.restore(4, snapshot)
    for slot in (0, 4):
        hidden_TD = network(ids_BT[:, 8:], Context(None, state.narrow(slot, 1)))[0]
        torch.testing.assert_close(hidden_TD, expected_TD, atol=1e-5, rtol=1e-5)


@every_config
@torch.inference_mode()
def test_a_reset_slot_is_like_a_new_one(config: ModelConfig) -> None:
    network = generator(config)
    ids_BT, _ = batch(config, (12,))
    state, fresh = network.new_state(2), network.new_state(2)
    network(ids_BT, Context(None, state.narrow(0, 1)))
    for tensor in (t for layer in state.layers for t in layer):
        tensor[0].masked_fill_(tensor[0] != 0, float("nan"))  # as a sequence with an overflow leaves it
    state.reset([0])
    assert all(not tensor.any() for tensor in tensors(state))
    one = network(ids_BT[:, :5], Context(None, state.narrow(0, 1)))
    two = network(ids_BT[:, :5], Context(None, fresh.narrow(0, 1)))
    torch.testing.assert_close(one, two, atol=1e-6, rtol=1e-6)


@every_config
def test_the_loss_of_a_new_network_is_that_of_a_uniform_guess(config: ModelConfig) -> None:
    network = build(config)
    assert isinstance(network, LanguageModel)
    ids_BT, lengths_B = torch.randint(23, (16, 24)), torch.full((16,), 24)
    first = loss(network, ids_BT, lengths_B, torch.randint(23, (16, 24)))
    assert first.item() == pytest.approx(math.log(23), rel=0.05)


@every_config
def test_training_overfits_one_batch(config: ModelConfig) -> None:
    network = generator(config).train()
    ids_BT, lengths_B = batch(config)
    targets_BT = ids_BT.roll(-1, 1)
    dense = [parameter for name, parameter in network.named_parameters() if not in_branch(name)]
    optimizer = torch.optim.AdamW(dense, lr=0.02, weight_decay=0.0)
    for _ in range(150):
        optimizer.zero_grad()
        value = loss(network, ids_BT, lengths_B, targets_BT)
        value.backward()
        optimizer.step()
        if value.item() < 0.3:
            return
    pytest.fail(f"the loss is still {value.item():.3f}")


@every_config
@torch.inference_mode()
def test_bfloat16_is_close_to_float32(config: ModelConfig) -> None:
    network = generator(config)
    ids_BT, _ = batch(config, (9, 9))
    expected = network(ids_BT, Context())
    network.to(torch.bfloat16)
    state = network.new_state(2)
    parts = [network(ids_BT[:, :6], Context(None, state))]
    parts += [network(ids_BT[:, step : step + 1], Context(None, state)) for step in (6, 7, 8)]
    hidden_BTD = torch.cat(parts, 1)
    assert hidden_BTD.dtype == torch.bfloat16
    assert torch.nn.functional.cosine_similarity(hidden_BTD.float(), expected, dim=2).min() > 0.99


@pytest.mark.parametrize("name", [name for name in CONFIGS if name.startswith("transformer")])
@torch.inference_mode()
def test_the_context_length_is_the_limit(name: str) -> None:
    network = generator(CONFIGS[name])
    ids_BT = torch.randint(23, (2, 33))
    with pytest.raises(StateFull, match=r"33 positions .* context length is 32"):
        network(ids_BT, Context())
    state = network.new_state(2)
    network(ids_BT[:, :32], Context(torch.tensor([32, 5]), state))
    before = tensors(state)
    with pytest.raises(StateFull):
        network(ids_BT[:, 32:], Context(None, state))
    assert state.positions == [32, 5]
    assert all(torch.equal(old, new) for old, new in zip(before, tensors(state), strict=True))
    assert network(ids_BT[:, :3], Context(torch.tensor([0, 3]), state)).isfinite().all()


@torch.inference_mode()
def test_a_recurrent_network_has_no_limit() -> None:
    network = generator(CONFIGS["lstm"])
    state = network.new_state(1)
    network(torch.randint(23, (1, 100)), Context(None, state))
    assert state.positions == [100]
    assert network.config.position_limit is None


def test_a_network_can_be_trained_after_inference() -> None:
    network = generator(CONFIGS["transformer"])
    ids_BT, lengths_B = batch(CONFIGS["transformer"])
    with torch.inference_mode():
        network(ids_BT, Context(lengths_B, network.new_state(4)))
    loss(network, ids_BT, lengths_B, ids_BT).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
