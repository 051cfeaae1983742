"""The training loop without the program around it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import torch

from app.training.loop.batches import derive
from app.training.loop.loop import Hooks, Training
from app.training.loop.progress import Progress
from app.training.plan.config import Settled, settle
from app.training.prepare import dataset
from app.training.prepare.dataset import Dataset
from app.training.prepare.prepare import prepare
from app.wire.trainer import Metrics, TrainSpec
from models.tasks import build
from tests.training import runs


def ready(run: Path) -> tuple[TrainSpec, Dataset]:
    """What a run's files come to."""
    spec = msgspec.json.decode((run / "run.json").read_bytes(), type=TrainSpec)
    aside = run / ".preparing"
    aside.mkdir()
    return spec, dataset.save(run / "prepared", aside, prepare(run, spec, None, aside, lambda: None))


@dataclass
class Loop:
    """A training that has run. `rates`: the learning rate of each step."""

    settled: Settled
    training: Training
    heard: runs.Heard
    rates: list[float] = field(default_factory=list)

    @property
    def weights(self) -> torch.Tensor:
        return torch.cat([p.detach().flatten() for p in self.training.network.parameters()])

    @property
    def metrics(self) -> list[Metrics]:
        return [event for event in self.heard.events if isinstance(event, Metrics)]


def loop(
    run: Path, clock: Callable[[], float] = time.monotonic, save: Callable[[], None] = lambda: None, **changes: Any
) -> Loop:
    """Prepare, settle and run; `changes` of what was settled."""
    spec, prepared = ready(run)
    settled = replace(settle(spec, prepared, None, "cpu", 1), **changes)
    torch.manual_seed(derive(settled.seed, "initialisation"))
    network, heard = build(settled.config), runs.Heard()
    hooks = Hooks(heard, lambda: False, save, lambda: True, lambda metrics: None, clock)
    made = Loop(settled, Training(settled, prepared, network, Progress(), hooks), heard)
    step = made.training.optimizer.step

    def watched(rate: float) -> None:
        made.rates.append(rate)
        step(rate)

    made.training.optimizer.step = watched  # type: ignore[method-assign]
    made.training.run()
    return made
