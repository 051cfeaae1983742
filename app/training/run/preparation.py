"""Provides the prepared data and the complete configuration of a training run before its first step.

The first attempt writes both to the run directory; later attempts read them.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import torch

from app.checkpoint import directory as checkpoint
from app.settings import cores, installed_memory
from app.training.base import BaseCheckpoint
from app.training.failures import TrainingFailure
from app.training.plan.config import Settled, settle
from app.training.prepare import dataset as datasets
from app.training.prepare.dataset import Dataset
from app.training.prepare.prepare import prepare
from app.wire.trainer import TrainSpec


@dataclass(frozen=True, slots=True)
class Machine:
    """The trainer's command-line options that depend on the machine.

    `resume_every` is the number of seconds between resume points. If `threads` is 0, there is one thread per core.
    `memory` is the number of bytes that a run may use; 0 means all of the machine's or the GPU's memory.
    """

    resume_every: float = 15.0
    threads: int = 0
    device: str = "auto"
    memory: int = 0

    @property
    def settled_threads(self) -> int:
        """The number of threads: as requested, or one per core."""
        return self.threads or cores()

    def memory_limit(self, device: str) -> int:
        """Return the number of bytes that a run on this device may use."""
        if self.memory:
            return self.memory
        return int(torch.cuda.get_device_properties(device).total_memory) if device == "cuda" else installed_memory()

    def settled_device(self) -> str:
        if self.device != "auto":
            return self.device
        return "cuda" if torch.cuda.is_available() else "cpu"


def load_or_prepare(
    run: Path, spec: TrainSpec, base_checkpoint: BaseCheckpoint | None, check: Callable[[], None]
) -> Dataset:
    """Load the prepared data of a run. If there is none, prepare and store it.

    `check` is called regularly while files are read and may raise an exception.
    """
    directory, temporary = run / "prepared", run / ".preparing"
    if directory.is_dir():
        return datasets.load(directory)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    return datasets.save(directory, temporary, prepare(run, spec, base_checkpoint, temporary, check))


def load_or_settle(
    run: Path, spec: TrainSpec, dataset: Dataset, base_checkpoint: BaseCheckpoint | None, machine: Machine
) -> Settled:
    """Load the complete configuration of a run. If there is none, determine and store it.

    Raises TrainingFailure `resume_mismatch` if the data, tokenizer or request have changed since the configuration was
    determined.
    """
    path, digests = run / "settled.json", _digests(run, spec, dataset)
    if not path.exists():
        settled = settle(spec, dataset, base_checkpoint, machine.settled_device(), machine.settled_threads)
        settled = replace(settled, digests=digests)
        checkpoint.write_json(path, settled.to_dict())
        return settled
    settled = Settled(**json.loads(path.read_text()))
    for name, digest in digests.items():
        if settled.digests[name] != digest:
            message = f"the {name} changed after the training run began; start a new job"
            raise TrainingFailure("resume_mismatch", message)
    return settled


def _digests(run: Path, spec: TrainSpec, dataset: Dataset) -> dict[str, str]:
    """Return the digests that a resume point and the stored configuration must match."""
    files = [spec.training_file, spec.validation_file]
    tokenizer = b"" if dataset.tokenizer is None else dataset.tokenizer.read_bytes()
    return {
        "data": " ".join(_sha256(run / file.path) for file in files if file is not None),
        "tokenizer": hashlib.sha256(tokenizer).hexdigest(),
        "configuration": hashlib.sha256(msgspec.json.encode(spec, order="deterministic")).hexdigest(),
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
