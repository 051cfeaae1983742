"""Rows with different adapters in one call have the outputs of the networks into which the adapters are merged."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from models import mixed_adapters, tasks
from models.adapters import DOWN, adapter_shapes, merged
from models.choices import ADAPTABLE
from models.config import ModelConfig
from models.interface import Context
from models.kernels import onednn
from models.kernels.choice import bind
from models.mixed_adapters import (
    COPIES,
    RECENT,
    AdapterMatrices,
    AdapterStacks,
    SharedLinear,
    share_linears,
    using,
)
from tests.models.configurations import LOCAL, SMALL, VARIANTS

CPU = torch.device("cpu")
SCALE = 1.5
TRANSFORMERS = {name: options for name, options in VARIANTS.items() if options["architecture"] == "transformer"}
# The changed matrices and the rank of each adapter; the last row of a list stands for the base alone.
ADAPTERS: list[tuple[tuple[str, ...], int]] = [(ADAPTABLE, 2), (("qkv",), 5), (("down", "up"), 1), (("out", "qkv"), 3)]
BASE = len(ADAPTERS)


class Versions:
    """A base with adapters: a network with all adapters kept apart, and a merged network for each adapter."""

    def __init__(self, config: ModelConfig) -> None:
        torch.manual_seed(0)
        base = tasks.build_for_inference(config)
        weights = {name: torch.randn(tensor.shape) * 0.3 for name, tensor in base.state_dict().items()}
        self.shared: Any = _with(config, weights)
        share_linears(self.shared)
        self.merged: list[Any] = []
        self.adapters: list[AdapterMatrices | None] = []
        for targets, r in ADAPTERS:
            own = {name: torch.randn(shape) * 0.3 for name, shape in adapter_shapes(config, targets, r)}
            self.merged.append(_with(config, merged(weights, own, SCALE)))
            self.adapters.append(AdapterMatrices.new(own, SCALE, CPU, torch.float32))
        self.merged.append(_with(config, weights))
        self.adapters.append(None)
        self.stacks = AdapterStacks()

    def rows(self, owners: list[int], steps: list[int]) -> mixed_adapters.RowAdapters | None:
        return self.stacks.rows([self.adapters[owner] for owner in owners], steps)


def _with(config: ModelConfig, weights: dict[str, Tensor]) -> Any:
    network = tasks.build_for_inference(config)
    network.load_state_dict(weights)
    return network.requires_grad_(False).eval()


def classifier(name: str) -> ModelConfig:
    local = LOCAL if name == "transformer-modern" else {}
    return ModelConfig(task="classification", vocab_size=23, classes=3, **SMALL | TRANSFORMERS[name] | local)


CLASSIFIERS = {name: Versions(classifier(name)) for name in TRANSFORMERS}
GENERATORS = {
    name: Versions(ModelConfig(task="generation", vocab_size=23, **SMALL | options))
    for name, options in TRANSFORMERS.items()
}
ROWS = st.lists(st.tuples(st.integers(0, BASE), st.integers(1, 12)), min_size=1, max_size=9)


@given(name=st.sampled_from(list(TRANSFORMERS)), rows=ROWS, few=st.booleans())
@settings(max_examples=150)
def test_mixed_batches_are_scored_as_by_merged_networks(name: str, rows: list[tuple[int, int]], few: bool) -> None:
    """In both ways of computing updates, with and without padding."""
    versions, owners, steps = CLASSIFIERS[name], [owner for owner, _ in rows], [length for _, length in rows]
    ids_BT, lengths_B = torch.randint(23, (len(rows), max(steps))), torch.tensor(steps)
    with pytest.MonkeyPatch.context() as patch, torch.inference_mode():
        patch.setattr(mixed_adapters, "_call_cost", lambda x: 2**30 if few else 0)
        with using(versions.rows(owners, steps)):
            scores_BC, vectors_BD = versions.shared(ids_BT, lengths_B), versions.shared.embed(ids_BT, lengths_B)
        for row, owner in enumerate(owners):
            alone = ids_BT[row : row + 1, : steps[row]], lengths_B[row : row + 1]
            assert_near(scores_BC[row], versions.merged[owner](*alone)[0])
            assert_near(vectors_BD[row], versions.merged[owner].embed(*alone)[0])


@given(name=st.sampled_from(list(TRANSFORMERS)), rows=ROWS, kernels=st.booleans())
@settings(max_examples=60)
def test_mixed_batches_are_decoded_as_by_merged_networks(name: str, rows: list[tuple[int, int]], kernels: bool) -> None:
    """A prompt of a different length in each row, then two decode steps, in the second of which some rows are empty."""
    versions, owners = GENERATORS[name], [owner for owner, _ in rows]
    network = versions.shared
    if kernels:
        network = Versions(versions.shared.config).shared
        bind(network, onednn)
    state, texts = network.new_state(len(rows)), [torch.randint(23, (length + 2,)) for _, length in rows]
    done = [0] * len(rows)
    for counts in ([length for _, length in rows], [1] * len(rows), [i % 2 for i in range(len(rows))]):
        ids_BT = torch.zeros(len(rows), max(1, *counts), dtype=torch.int64)
        for row, count in enumerate(counts):
            ids_BT[row, :count] = texts[row][done[row] : done[row] + count]
        with torch.inference_mode(), using(versions.rows(owners, counts)):
            logits_BTV = network.logits(network(ids_BT, Context(torch.tensor(counts), state)))
        done = [before + count for before, count in zip(done, counts, strict=True)]
        for row, count in enumerate(counts):
            plain = versions.merged[owners[row]]
            with torch.inference_mode():
                expected_TV = plain.logits(plain(texts[row][None, : done[row]], Context()))[0]
            assert_near(logits_BTV[row, :count], expected_TV[done[row] - count :])


def assert_near(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, atol=2e-4, rtol=2e-4)


@pytest.mark.parametrize("few", [True, False])
def test_an_adapter_with_huge_numbers_does_not_affect_other_rows(few: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixed_adapters, "_call_cost", lambda x: 2**30 if few else 0)
    versions = Versions(classifier("transformer-bert"))
    huge, other = versions.adapters[0], versions.merged[1]
    assert huge is not None and huge.largest < 10
    for down, _ in huge.pairs.values():
        down.fill_(3e38)
    assert huge.largest == float(torch.tensor(3e38))
    ids_BT, lengths_B = torch.randint(23, (2, 6)), torch.tensor([6, 6])
    with using(versions.rows([0, 1], [6, 6])), torch.inference_mode():
        scores_BC = versions.shared(ids_BT, lengths_B)
    assert not scores_BC[0].isfinite().any()
    assert_near(scores_BC[1], other(ids_BT[1:], lengths_B[1:])[0])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_the_largest_value_is_not_finite_if_one_value_is_not(value: float) -> None:
    one, other = torch.ones(1, 1), torch.full((1, 1), value)
    for pair in ((one, other), (other, one)):
        assert not AdapterMatrices({"a": pair}).largest < float("inf")
    assert AdapterMatrices({}).largest == 0


def test_without_assigned_rows_the_base_is_computed() -> None:
    versions = CLASSIFIERS["transformer"]
    inputs = torch.randint(23, (2, 5)), torch.tensor([5, 3])
    expected = versions.merged[BASE](*inputs)
    assert torch.equal(versions.shared(*inputs), expected)
    with using(versions.rows([BASE, BASE], [5, 3])):
        assert torch.equal(versions.shared(*inputs), expected)
    with using(versions.rows([0, 1], [5, 3])):
        assert not torch.allclose(versions.shared(*inputs), expected, atol=1e-2)
    assert torch.equal(versions.shared(*inputs), expected)


def test_the_names_of_the_weights_do_not_change() -> None:
    network = CLASSIFIERS["transformer-bert"].shared
    assert network.state_dict().keys() == tasks.build(network.config).state_dict().keys()
    linears = [module for module in network.body.modules() if isinstance(module, SharedLinear)]
    assert len(linears) == 4 * network.config.layers
    assert not any(isinstance(module, nn.Linear) for module in network.body.modules())


def test_stacks_of_recent_adapters_are_kept_until_they_are_cleared() -> None:
    versions = Versions(classifier("transformer"))
    first = versions.rows([0, 1, BASE], [1, 1, 1])
    second = versions.rows([1, 0, 0], [1, 1, 1])
    assert first is not None and second is not None and first.stack is second.stack
    assert [first.stack.adapters[i] if i >= 0 else None for i in first.rows] == [*versions.adapters[:2], None]
    versions.stacks.clear()
    third = versions.rows([0, 1], [1, 1])
    assert third is not None and third.stack is not first.stack


def test_the_matrices_are_scaled_once_and_counted() -> None:
    own = {f"m.{DOWN}": torch.ones(2, 3), f"m.{mixed_adapters.UP}": torch.ones(4, 2)}
    adapter = AdapterMatrices.new(own, SCALE, CPU, torch.bfloat16)
    down, up = adapter.pairs["m"]
    assert down.dtype == torch.bfloat16 and torch.equal(up.float(), torch.full((4, 2), SCALE))
    assert adapter.nbytes == 2 * (6 + 8)


def test_the_memory_of_stacks_is_limited() -> None:
    adapters = [AdapterMatrices({"a": (torch.ones(2, 8), torch.ones(8, 2))}) for _ in range(6)]
    stacks = AdapterStacks()
    everything = stacks.rows(adapters, [1] * 6)
    for one in range(6):
        stacks.rows(adapters[:one] + adapters[one + 1 :], [1] * 5)
        assert sum(len(kept) for kept in stacks._stacks) <= COPIES * 6
        again = stacks.rows(adapters, [1] * 6)  # those that are used most recently are kept
        assert everything is not None and again is not None and again.stack is everything.stack
    for _ in range(10):
        single = AdapterMatrices({"a": (torch.ones(2, 8), torch.ones(8, 2))})
        stacks.rows([single], [1])
    assert len(stacks._stacks) == RECENT
