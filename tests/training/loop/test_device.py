"""With accumulation, a piece is moved during the computation of another one, and a step waits no more often."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from app.training.loop import device
from app.training.loop.batches import Batch
from app.training.loop.device import prefetch, replace_tokens, to_device
from tests.training import runs
from tests.training.loops import Loop, build_loop

SMALL = {"width": 16, "layers": 1, "max_steps": 1, "precision": "float32"}
TABLE, BOOK = ("rows.csv", runs.table()), ("book.txt", runs.book())
CASES: dict[str, tuple[str, tuple[str, str], dict[str, Any]]] = {
    "classification": ("lstm", TABLE, {"batch_size": 4, "class_weights": "balanced", "ngrams": False}),
    "transformer": ("transformer", TABLE, {"batch_size": 4, "ngrams": False}),
    "branch": ("lstm", TABLE, {"batch_size": 4, "class_weights": "balanced"}),  # this branch drops tokens
    "linear": ("linear", TABLE, {"batch_size": 4, "width": None, "layers": None, "precision": None}),
    "generation": ("gru", BOOK, {"batch_size": 4, "context_length": 16}),
}
WAITING = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "_coalesce"}


class Accelerator(TorchDispatchMode):
    """A fake GPU. It treats tensors as its own if they are computed from the network or from moved batches.

    `waits` counts operations for which the host needs the values of such a tensor. The document frequencies of n-grams
    are not on the fake GPU (see `test_the_document_frequencies_stay_on_the_host`).
    """

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.waits = 0
        self._tensors = WeakTensorKeyDictionary()
        for name, tensor in network.state_dict(keep_vars=True).items():
            if name != "ngrams.idf":
                self._tensors[tensor] = True

    def __contains__(self, tensor: Tensor) -> bool:
        return tensor in self._tensors

    def move(self, batch: Batch) -> Batch:
        copies = [None if t is None else t.clone() for t in (batch.inputs, batch.lengths_B, batch.targets)]
        learned_N = None if batch.learned_N is None else batch.learned_N.clone()
        for tensor in (*copies, learned_N):
            if tensor is not None:
                self._tensors[tensor] = True
        return Batch(*copies, learned_N, batch)  # type: ignore[arg-type]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensors = [leaf for leaf in tree_leaves((args, kwargs or {})) if isinstance(leaf, Tensor)]
        result = func(*args, **(kwargs or {}))
        if any(tensor in self._tensors for tensor in tensors):
            name = func.overloadpacket.__name__
            masked = name in ("index", "index_put", "index_put_") and any(t.dtype == torch.bool for t in tensors)
            self.waits += masked or name in WAITING
            for leaf in tree_leaves(result):
                if isinstance(leaf, Tensor):
                    self._tensors[leaf] = True
        return result


def one_step(run: Path, case: str, accumulation: int, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], int]:
    """Run a step. Returns the operations on its pieces, in order, and how often the host waited."""
    model, file, options = CASES[case]
    training = SMALL | options | {"accumulation": accumulation}
    loop: Loop = build_loop(runs.make(run, *file, model, training=training))
    accelerator, happened = Accelerator(loop.training.network), list[str]()
    backward = Tensor.backward

    def recorded_move(batch: Batch, _: str) -> Batch:
        happened.append("move")
        return accelerator.move(batch)

    def recorded_backward(loss: Tensor, *arguments: Any, **more: Any) -> None:
        happened.append("backward")
        backward(loss, *arguments, **more)

    def recorded_list(tensor: Tensor) -> Any:
        accelerator.waits += tensor in accelerator  # not dispatched as an operation
        return tolist(tensor)

    def recorded_cpu(tensor: Tensor) -> Tensor:
        accelerator.waits += tensor in accelerator  # nothing is copied, because the fake is in the host's memory
        return cpu(tensor)

    tolist, cpu = Tensor.tolist, Tensor.cpu
    monkeypatch.setattr(Tensor, "tolist", recorded_list)
    monkeypatch.setattr(Tensor, "cpu", recorded_cpu)
    monkeypatch.setattr(device, "to_device", recorded_move)
    monkeypatch.setattr(Tensor, "backward", recorded_backward)
    with accelerator:
        loop.training.step()
    monkeypatch.undo()
    return happened, accelerator.waits


@pytest.mark.parametrize("case", CASES)
def test_a_piece_is_moved_while_the_one_before_it_is_computed(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened, _ = one_step(tmp_path, case, 4, monkeypatch)
    assert happened == ["move", "move", "backward", "move", "backward", "move", "backward", "backward"]


@pytest.mark.parametrize("case", CASES)
def test_the_number_of_waits_does_not_depend_on_the_number_of_pieces(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = {pieces: one_step(tmp_path / str(pieces), case, pieces, monkeypatch)[1] for pieces in (1, 4, 8)}
    sparse = CASES[case][2].get("ngrams", True)  # to combine the rows of a sparse gradient, the host waits once more
    assert waits == dict.fromkeys((1, 4, 8), 2 if sparse else 1)


def test_all_batches_come_through_in_order() -> None:
    batches = [Batch(torch.full((1, 1), n), torch.ones(1), torch.zeros(1)) for n in range(3)]
    assert [int(batch.inputs) for batch in prefetch(batches, "cpu")] == [0, 1, 2]
    assert list(prefetch([], "cpu")) == []


def test_copies_are_asynchronous_from_pinned_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    pinned: list[Tensor] = []

    def pin(tensor: Tensor) -> Tensor:
        pinned.append(tensor.clone())
        return pinned[-1]

    def copy(tensor: Tensor, target: str, *, non_blocking: bool) -> Tensor:
        assert non_blocking and any(tensor is other for other in pinned)
        return to(tensor, target)

    to = Tensor.to
    monkeypatch.setattr(Tensor, "pin_memory", pin)
    monkeypatch.setattr(Tensor, "to", copy)
    batch = Batch.of_text(torch.zeros(2, 3, dtype=torch.int64), torch.tensor([3, 3]), torch.ones(2, 3))
    moved = to_device(batch, "meta")
    assert moved.host is batch
    assert {field.name: getattr(moved, field.name).device.type for field in fields(moved) if field.name != "host"} == {
        "inputs": "meta", "lengths_B": "meta", "targets": "meta", "learned_N": "meta"
    }  # fmt: skip


def test_tokens_are_replaced_on_the_device_and_on_the_host() -> None:
    host = Batch(torch.tensor([[1, 2], [3, 4]]), torch.tensor([2, 2]), torch.zeros(2))
    copied = Batch(host.inputs.clone(), host.lengths_B, host.targets, None, host)
    replaced = replace_tokens(copied, torch.tensor([[True, False], [False, True]]), 9)
    assert replaced.inputs.tolist() == replaced.on_host.inputs.tolist() == [[9, 2], [3, 9]]
    assert host.inputs.tolist() == [[1, 2], [3, 4]]
    alone = replace_tokens(host, torch.tensor([[True, True], [False, False]]), 9)
    assert alone.host is None and alone.inputs.tolist() == [[9, 9], [3, 4]]


def test_on_the_cpu_nothing_is_copied() -> None:
    batch = Batch(torch.zeros(1, 1), torch.ones(1), torch.zeros(1))
    assert to_device(batch, "cpu") is batch
