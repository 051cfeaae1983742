"""Accumulation saves memory, and a step waits for the device only once, regardless of the number of pieces."""

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
from app.training.loop.device import prefetch, to_device
from tests.training import runs
from tests.training.loops import Loop, build_loop

SMALL = {"width": 16, "layers": 1, "max_steps": 1, "precision": "float32"}
TABLE, BOOK = ("rows.csv", runs.table()), ("book.txt", runs.book())
# Without the n-gram branch, for which the host waits for the token ids.
CASES: dict[str, tuple[str, tuple[str, str], dict[str, Any]]] = {
    "classification": ("lstm", TABLE, {"batch_size": 4, "class_weights": "balanced", "ngrams": False}),
    "transformer": ("transformer", TABLE, {"batch_size": 4, "ngrams": False}),
    "generation": ("gru", BOOK, {"batch_size": 4, "context_length": 16}),
}


class Accelerator(TorchDispatchMode):
    """A fake GPU. Tensors that are computed from the network or from moved batches are considered to be on it.

    `waits` counts operations whose results on the host depend on the values of such a tensor.
    """

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.waits = 0
        self._tensors = WeakTensorKeyDictionary()
        for tensor in network.state_dict(keep_vars=True).values():
            self._tensors[tensor] = True

    def __contains__(self, tensor: Tensor) -> bool:
        return tensor in self._tensors

    def move(self, batch: Batch) -> Batch:
        copies = [None if t is None else t.clone() for t in (batch.inputs, batch.lengths_B, batch.targets)]
        learned_N = None if batch.learned_N is None else batch.learned_N.clone()
        for tensor in (*copies, learned_N):
            if tensor is not None:
                self._tensors[tensor] = True
        return Batch(*copies, learned_N)  # type: ignore[arg-type]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensors = [leaf for leaf in tree_leaves((args, kwargs or {})) if isinstance(leaf, Tensor)]
        result = func(*args, **(kwargs or {}))
        if any(tensor in self._tensors for tensor in tensors):
            name = func.overloadpacket.__name__
            masked = name in ("index", "index_put", "index_put_") and any(t.dtype == torch.bool for t in tensors)
            self.waits += masked or name in ("_local_scalar_dense", "nonzero", "masked_select", "equal")
            for leaf in tree_leaves(result):
                if isinstance(leaf, Tensor):
                    self._tensors[leaf] = True
        return result


def one_step(run: Path, case: str, accumulation: int, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], int]:
    """The operations on the pieces of a step, in order, and the number of times that the host waited."""
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

    tolist = Tensor.tolist
    monkeypatch.setattr(Tensor, "tolist", recorded_list)
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
def test_a_step_waits_for_the_device_once(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits = {pieces: one_step(tmp_path / str(pieces), case, pieces, monkeypatch)[1] for pieces in (1, 4, 8)}
    assert waits == {1: 1, 4: 1, 8: 1}


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
    assert {field.name: getattr(moved, field.name).device.type for field in fields(moved)} == {
        "inputs": "meta", "lengths_B": "meta", "targets": "meta", "learned_N": "meta"
    }  # fmt: skip


def test_on_the_cpu_nothing_is_copied() -> None:
    batch = Batch(torch.zeros(1, 1), torch.ones(1), torch.zeros(1))
    assert to_device(batch, "cpu") is batch
