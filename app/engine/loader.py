"""A checkpoint directory to a network, in a thread of its own, so that serving goes on meanwhile.

Nothing is read before every file's hash is checked; safetensors only. Knows no request and no socket.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from app.checkpoint import directory as checkpoint
from app.checkpoint.weights import check_tensors, read_header
from app.engine.reply import is_out_of_memory
from app.engine.runner import Scaling
from app.errors import CheckpointInvalid, OstinatoError, Unavailable
from app.tokenization.tokenizer import Tokenizer
from app.wire.engine import Load
from models import tasks
from models.config import ModelConfig
from models.kernels import choice

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class LoadedNetwork:
    """A loaded checkpoint. `scaling` normalises numeric input; `target` undoes that of a regression's value."""

    digest: str
    name: str
    config: ModelConfig
    network: Any = field(repr=False)
    nbytes: int  # of its weights, in every form that is held
    dtype: torch.dtype
    device: torch.device
    eos_id: int | None
    scaling: Scaling | None
    target: Scaling | None


def load(message: Load, device: torch.device, dtype: torch.dtype) -> LoadedNetwork:
    """Raises CheckpointInvalid where the directory is not exactly what the message says, or is no network."""
    directory = Path(message.directory)
    _verify(directory, message)
    found = checkpoint.read(directory)
    network = _network(found.config, directory / "model.safetensors")
    network.requires_grad_(False).eval().to(device=device, dtype=dtype)
    nbytes = sum(int(tensor.nbytes) for tensor in network.state_dict().values())
    kernels = choice.choose(device, dtype)
    # Classification runs many rows at once, at which PyTorch's own products are as fast as any (docs/log.md).
    if kernels is not None and isinstance(network, tasks.LanguageModel):
        nbytes += choice.bind(network, kernels)
    eos_id = Tokenizer.load(directory).eos_id if found.config.task == "generation" else None
    scaling, target = found.raw_config.get("normalization"), found.raw_config.get("target")
    return LoadedNetwork(
        message.digest, message.name, found.config, network, nbytes, dtype, device, eos_id,
        Scaling(scaling["mean"], scaling["std"]) if scaling else None,
        Scaling([target["mean"]], [target["std"]]) if target else None,
    )  # fmt: skip


def _verify(directory: Path, message: Load) -> None:
    if not directory.is_dir():
        raise CheckpointInvalid(f"the folder of {message.name} is not there")
    found = checkpoint.manifest(directory)
    if set(found) != set(message.files):
        differing = ", ".join(sorted(set(found) ^ set(message.files))[:5])
        raise CheckpointInvalid(f"{message.name} does not consist of the files that were registered: {differing}")
    for path, entry in found.items():
        if entry.sha256 != message.files[path]:
            raise CheckpointInvalid(f"{path} of {message.name} is not the file that was registered: its hash differs")
    if checkpoint.digest(found) != message.digest:
        raise CheckpointInvalid(f"the files of {message.name} do not have the digest that was asked for")


def _network(config: ModelConfig, weights: Path) -> tasks.LanguageModel | tasks.Classifier:
    """Build a network and fill it. Nothing is allocated before the file is known to hold its tensors."""
    check_tensors(read_header(weights), config)
    network = tasks.build(config, initialised=False)
    values: dict[str, Tensor] = load_file(weights)
    network.load_state_dict(values)
    return network


@dataclass(frozen=True, slots=True)
class Outcome:
    message: Load
    result: LoadedNetwork | OstinatoError
    seconds: float


class Loader:
    """Loads one version after the other. `collect` gives what is done; `wake` is called when there is something."""

    def __init__(self, device: torch.device, dtype: torch.dtype, wake: Callable[[], None]) -> None:
        self.device, self.dtype, self._wake = device, dtype, wake
        self._asked: queue.SimpleQueue[Load] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="loader", daemon=True).start()

    def submit(self, message: Load) -> None:
        self._asked.put(message)

    def collect(self) -> list[Outcome]:
        found = []
        while not self._done.empty():
            found.append(self._done.get())
        return found

    def _run(self) -> None:
        while True:
            message = self._asked.get()
            start = time.monotonic()
            self._done.put(Outcome(message, self._attempt(message), time.monotonic() - start))
            self._wake()

    def _attempt(self, message: Load) -> LoadedNetwork | OstinatoError:
        try:
            return load(message, self.device, self.dtype)
        except OstinatoError as error:
            return error
        except Exception as error:
            if is_out_of_memory(error):
                return Unavailable(f"there is no memory left for {message.name}", code="out_of_memory")
            logger.exception("loading %s failed", message.name)
            return CheckpointInvalid(f"{message.name} cannot be loaded ({type(error).__name__})")
