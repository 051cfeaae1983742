"""Writes the weights of a network to a checkpoint directory, and reads them back.

The checkpoint of an adapter contains the weights file of the base, and a file with the tensors that differ from it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from app.checkpoint.adapter import ADAPTER, PREFIX, LowRankAdapter
from app.checkpoint.directory import WEIGHTS
from app.training.base import BaseCheckpoint
from app.training.loop.progress import sync
from models.tasks import TaskNetwork


@dataclass(frozen=True, slots=True)
class Weights:
    """The weights of a network in training. `base` is the version that is fine-tuned, if there is one.

    `adapter` is None if all weights are stored.
    """

    network: TaskNetwork
    base: BaseCheckpoint | None
    adapter: LowRankAdapter | None

    def write(self, directory: Path) -> None:
        """Write the weights files to a directory. The weights file of the base is linked, not copied, if possible."""
        if self.adapter is None or self.base is None:
            tensors = {name: _on_host(tensor) for name, tensor in self.network.state_dict().items()}
            _save(tensors, directory / WEIGHTS)
            return
        _link(self.base.directory / WEIGHTS, directory / WEIGHTS)
        _save({PREFIX + name: tensor for name, tensor in self._changed(self.base)}, directory / ADAPTER)

    def _changed(self, base: BaseCheckpoint) -> Iterator[tuple[str, Tensor]]:
        """Yield the tensors that are not in the base, or have other values there."""
        before = load_file(base.directory / WEIGHTS)
        for name, tensor in self.network.state_dict().items():
            old, new = before.get(name), _on_host(tensor)
            if old is None or old.shape != new.shape or not torch.equal(old.to(new.dtype), new):
                yield name, new


def restore(network: TaskNetwork, directory: Path, device: str) -> None:
    """Load the weights that `Weights.write` wrote for the same network, whose frozen parameters have not changed."""
    if not (directory / ADAPTER).exists():
        network.load_state_dict(load_file(directory / WEIGHTS, device=device))
        return
    own = network.state_dict()
    changed = {
        name.removeprefix(PREFIX): value for name, value in load_file(directory / ADAPTER, device=device).items()
    }
    # A trained tensor that is equal to the tensor of the base is only in the weights file of the base.
    kept = {name: value for name, value in load_file(directory / WEIGHTS, device=device).items() if name in own}
    kept = {name: value for name, value in kept.items() if value.shape == own[name].shape}
    network.load_state_dict(own | kept | changed)


def _on_host(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().contiguous()


def _save(tensors: dict[str, Tensor], path: Path) -> None:
    save_file(tensors, path)
    sync(path)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # the file system has no hard links
        shutil.copyfile(source, target)
